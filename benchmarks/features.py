"""Time of the handcrafted features, beside scikit-image's on the same images, and the largest difference of the two.

    python -m benchmarks.features FOLDER --json features.json

FOLDER holds JPEG or PNG images. Measured for v1 on `hsv` masks and v2 on `lab` masks, in ms per image on one core:
decoding with the check of the file's hash, segmentation, the features, and the same features by
`benchmarks.features_oracle`. Each round measures all of them on the same images. The table gives the median and the
range over the rounds, and the ratio within rounds. `benchmarks.scale` measures the stage on all cores, and its memory.

Needs NumPy, OpenCV, Pillow, scikit-image, SciPy and tqdm: no DVC.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wbc.core.compute import pin

MASKS = {"v1": "hsv", "v2": "lab"}  # as in params.yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of JPEG or PNG images")
    parser.add_argument("--sample", type=int, default=50, help="number of images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    if min(arguments.sample, arguments.rounds) < 1:
        parser.error("--sample and --rounds must be at least 1")
    pin(1, "avx2")  # before NumPy is imported

    from wbc.core.errors import UserError

    try:
        files = list_images(arguments.folder, arguments.sample)
        sets = {name: measure(name, files, arguments.rounds) for name in MASKS}
    except UserError as error:
        sys.exit(f"error: {error}")
    device = platform.processor() or platform.machine()
    show(sets, f"{device}, one core; n = {len(files)} images, {arguments.rounds} rounds")
    if arguments.json:
        results = {"device": device, "sample": len(files), "rounds": arguments.rounds, "sets": sets}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def list_images(folder: Path, sample: int) -> list[tuple[Path, str]]:
    """Paths and hashes of a sample of a folder's images, spread evenly over their names."""
    from wbc.core.errors import UserError
    from wbc.dataset.images import ImageError, decode, sha256

    paths, files = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")), []
    if not paths:
        raise UserError(f"{folder}: no JPEG or PNG image")
    for path in paths[:: max(1, len(paths) // sample)][:sample]:
        content = path.read_bytes()
        try:
            decode(content)
        except ImageError as error:
            raise UserError(f"{path}: {error}") from None
        files.append((path, sha256(content)))
    return files


def measure(name: str, files: list[tuple[Path, str]], rounds: int) -> dict:
    """Times of the parts, in ms per image by round, and the largest relative difference from the oracle."""
    import cv2
    import numpy as np
    from tqdm import tqdm

    from benchmarks.features_oracle import ORACLES
    from wbc.core.errors import UserError
    from wbc.dataset.images import read
    from wbc.features import feature_set
    from wbc.segment import method

    cv2.setNumThreads(1)
    names, extract, segment = feature_set(name).NAMES, feature_set(name).extract, method(MASKS[name]).segment
    times = {part: [] for part in ("decoding", "segmentation", "features", "scikit-image")}

    def timed(part: str, function: Callable, arguments: list[tuple]) -> list:
        started = time.perf_counter()
        results = [function(*each) for each in arguments]
        times[part].append(1000 * (time.perf_counter() - started) / len(files))
        return results

    for _ in tqdm(range(rounds + 1), name, disable=None):
        images = timed("decoding", read, files)
        masks = timed("segmentation", segment, [(image,) for image in images])
        cells = [(image, mask) for image, mask in zip(images, masks, strict=True) if mask.any()]
        if not cells:
            raise UserError("no cell in any of the images")
        ours, theirs = timed("features", extract, cells), timed("scikit-image", ORACLES[name], cells)
    a, b = np.array(ours), np.array([[values[feature] for feature in names] for values in theirs])
    relative = (np.abs(a - b) / np.where(b == 0, 1, np.abs(b))).max(axis=0)
    return {
        "milliseconds": {part: values[1:] for part, values in times.items()},  # the first round is a warm-up
        "largest_difference": float(relative.max()),
        "of": names[int(relative.argmax())],
    }


def show(sets: dict[str, dict], title: str) -> None:
    """Print the figures as Markdown."""
    columns = []
    for measured in sets.values():
        decoding, segmentation, features, oracle = measured["milliseconds"].values()
        ours, theirs = (list(map(sum, zip(decoding, segmentation, each, strict=True))) for each in (features, oracle))
        columns.append(
            {
                "decoding": spread(decoding),
                "segmentation": spread(segmentation),
                "features": spread(features),
                "together": spread(ours),
                "together, scikit-image": spread(theirs),
                "together, scikit-image : ours": spread([a / b for a, b in zip(theirs, ours, strict=True)]),
                "largest relative difference": f"{measured['largest_difference']:.1e} ({measured['of']})",
            }
        )
    print(f"\n{title}; ms per image, median (range)\n\n| | {' | '.join(sets)} |\n| --- |{' --- |' * len(sets)}")
    for label in columns[0]:
        print(f"| {label} | {' | '.join(column[label] for column in columns)} |")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


if __name__ == "__main__":
    main()
