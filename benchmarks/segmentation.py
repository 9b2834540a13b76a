"""Scores and time of each segmentation method, on images with true masks.

    python -m benchmarks.segmentation FOLDER --json segmentation.json

FOLDER holds pairs of `NAME.png` and `NAME_mask.png`, with mask values 0 background, 128 cytoplasm and 255 nucleus. The
table gives means over the images: Dice and IoU, the fraction of failures (`wbc.segment.failed`, which needs no true
mask) and the time on one core without decoding, of the fastest repetition, at the images' own size and the challenge's.

Needs OpenCV, scikit-image, SciPy, pandas, Pillow, pydantic and tqdm: no DVC, no PyTorch.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from wbc.core.compute import pin
from wbc.core.errors import UserError

CHALLENGE = (370, 368)  # width and height of the challenge's images
FORMATS = {"cell_dice": ".3f", "cell_iou": ".3f", "nucleus_dice": ".3f", "nucleus_iou": ".3f", "failed": ".1%"}
FORMATS |= {"ms": ".1f", "ms_challenge": ".1f"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with NAME.png and NAME_mask.png")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls per image (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    pin(1, "native")
    try:
        results = measure(read_pairs(arguments.folder), max(1, arguments.repeats))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"\n| method | images | {' | '.join(FORMATS)} |\n| --- | ---: |{' ---: |' * len(FORMATS)}")
    for name, values in results.items():
        cells = [format(values[key], spec) if key in values else "–" for key, spec in FORMATS.items()]
        print(f"| `{name}` | {values['images']} | {' | '.join(cells)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def read_pairs(folder: Path) -> list[tuple]:
    """Images, (H, W, 3) uint8 RGB, each with its mask, (H, W) uint8 of 0, 1 and 2.

    Raises:
        UserError: a pair that cannot be used, by name, or no pair at all.
    """
    from wbc.dataset.images import ImageError, decode, read_mask

    pairs = []
    for path in sorted(folder.glob("*_mask.png")):
        picture = path.with_name(path.name.removesuffix("_mask.png") + ".png")
        try:
            image = decode(picture.read_bytes())
            pairs.append((image, read_mask(path, image.shape[:2])))
        except OSError as error:
            raise UserError(f"{picture}: {error.strerror}") from None
        except ImageError as error:
            raise UserError(f"{picture} and its mask: {error}") from None
    if not pairs:
        raise UserError(f"{folder}: no pair of NAME.png and NAME_mask.png")
    return pairs


def measure(pairs: list[tuple], repeats: int) -> dict[str, dict[str, float]]:
    """The number of images and the figures of `FORMATS` that apply, by method."""
    import cv2
    import pandas as pd
    from tqdm import tqdm

    from wbc.segment import METHODS, failed, method, score

    cv2.setNumThreads(1)
    results = {}
    for name in METHODS:
        segment, nucleus, rows = method(name).segment, method(name).NUCLEUS, []
        for image, truth in tqdm(pairs, name, disable=None):
            mask = segment(image)
            times = {"ms": fastest(segment, image, repeats)}
            times["ms_challenge"] = fastest(segment, cv2.resize(image, CHALLENGE), repeats)
            rows.append({"failed": failed(mask, nucleus), **score(mask, truth, nucleus), **times})
        results[name] = {"images": len(pairs), **pd.DataFrame(rows).mean().to_dict()}
    return results


def fastest(segment, image, repeats: int) -> float:
    """Processor time of the fastest call in ms: other programs can only add to it."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        segment(image)
        times.append(time.process_time() - started)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
