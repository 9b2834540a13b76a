"""How well and how fast each segmentation method finds cell and nucleus, on images with true masks.

    python -m benchmarks.segmentation FOLDER --json segmentation.json

FOLDER holds pairs of `NAME.png` and `NAME_mask.png`, the mask's values being 0 background, 128 cytoplasm, 255 nucleus.

The table gives the means over the images of Dice and IoU, the share of failures (see `wbc.segment.failed`, which needs
no truth) and milliseconds of one core's time per image, decoding excluded: of each image the fastest repetition, then
the mean over the images, once at the images' own size and once scaled to the challenge's.

Needs OpenCV, scikit-image, scipy, pandas, Pillow, pydantic and tqdm: no DVC, no PyTorch.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from wbc.core.compute import pin
from wbc.core.errors import UserError

CHALLENGE = (370, 368)  # width and height of the challenge's images
COLUMNS = ("cell_dice", "cell_iou", "nucleus_dice", "nucleus_iou", "failed", "ms", "ms_challenge")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds NAME.png and NAME_mask.png")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls per image (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    pin(1, "native")
    try:
        pairs = read_pairs(arguments.folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    results = measure(pairs, max(1, arguments.repeats))
    show(results, len(pairs))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def read_pairs(folder: Path) -> list[tuple]:
    """Images, (H, W, 3) uint8 RGB, each with its mask, (H, W) uint8 of 0, 1 and 2.

    Raises:
        UserError: no such folder, no pair in it, or a pair that cannot be used, by name.
    """
    from wbc.dataset.images import ImageError, decode, read_mask

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    pairs = []
    for path in sorted(folder.glob("*_mask.png")):
        picture = path.with_name(path.name.removesuffix("_mask.png") + ".png")
        try:
            image = decode(picture.read_bytes())
            truth = read_mask(path, image.shape[:2])
        except OSError as error:
            raise UserError(f"{picture}: {error.strerror}") from None
        except ImageError as error:
            raise UserError(f"{picture} and its mask: {error}") from None
        pairs.append((image, truth))
    if not pairs:
        raise UserError(f"{folder}: holds no pair of NAME.png and NAME_mask.png")
    return pairs


def measure(pairs: list[tuple], repeats: int) -> dict[str, dict[str, float]]:
    """Every figure of `COLUMNS` that applies, by method."""
    import cv2
    import pandas as pd
    from tqdm import tqdm

    from wbc.segment import METHODS, failed, method, score

    cv2.setNumThreads(1)
    results = {}
    for name in METHODS:
        segment, nucleus = method(name).segment, method(name).NUCLEUS
        rows = []
        for image, truth in tqdm(pairs, name, disable=None):
            mask = segment(image)
            row = {"failed": failed(mask, nucleus), **score(mask, truth, nucleus)}
            row["ms"] = fastest(segment, image, repeats)
            row["ms_challenge"] = fastest(segment, cv2.resize(image, CHALLENGE), repeats)
            rows.append(row)
        results[name] = {"images": len(pairs), **pd.DataFrame(rows).mean().to_dict()}
    return results


def fastest(segment, image, repeats: int) -> float:
    """Milliseconds of processor time of the fastest of some calls: what else runs on the machine only adds to it."""

    def seconds() -> float:
        started = time.process_time()
        segment(image)
        return time.process_time() - started

    return 1000 * min(seconds() for _ in range(repeats))


def show(results: dict[str, dict[str, float]], images: int) -> None:
    """Print the figures as Markdown."""
    print(f"\nn = {images} images\n")
    print("| method | cell Dice | IoU | nucleus Dice | IoU | failed | ms | ms at 368×370 |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for name, values in results.items():
        cells = [f"{values[c]:.3f}" if c in values else "–" for c in COLUMNS[:4]]
        cells += [f"{values['failed']:.1%}", f"{values['ms']:.1f}", f"{values['ms_challenge']:.1f}"]
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
