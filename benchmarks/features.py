"""Speed of the handcrafted features, beside scikit-image's on the same images, and how far the two differ.

    python -m benchmarks.features FOLDER --json features.json

FOLDER holds JPEG or PNG images. For both sets, in ms per image on one core: decoding with the check of the file's hash,
segmentation (hsv for v1, lab for v2), the features, and the same features by `benchmarks.features_oracle`. Each round
measures all of them on the same images; the table gives the median and the range over the rounds, the ratio is taken
within a round. Before that all cores go over many images as the stage does, start-up included, which gives the time for
the challenge's and the peak memory; where the folder has fewer images, they repeat.

Needs NumPy, OpenCV, Pillow, scikit-image, SciPy, joblib and tqdm: no DVC.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from wbc.core.compute import pin

MASKS = {"v1": "hsv", "v2": "lab"}  # as params.yaml has them
CHALLENGE = 38535  # images (report §2.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of JPEG or PNG images")
    parser.add_argument(
        "--images", type=int, default=2000, help="images of the run on all cores (default: %(default)s)"
    )
    parser.add_argument("--sample", type=int, default=50, help="images timed on one core (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions on one core (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    if min(arguments.images, arguments.sample, arguments.rounds) < 1:
        parser.error("--images, --sample and --rounds are at least 1")
    pin(1, "avx2")  # before NumPy is imported

    from wbc.core.errors import UserError

    try:
        files = listed(arguments.folder)
        results = measure(files, arguments.images, arguments.sample, arguments.rounds)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def listed(folder: Path) -> list[tuple[str, str]]:
    """Path and hash of every image in a folder, each of which can be read."""
    from wbc.core.errors import UserError
    from wbc.dataset.images import ImageError, decode, sha256

    files = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")):
        content = path.read_bytes()
        try:
            decode(content)
        except ImageError as error:
            raise UserError(f"{path}: {error}") from None
        files.append((str(path), sha256(content)))
    if not files:
        raise UserError(f"{folder}: no JPEG or PNG image in it")
    return files


def measure(files: list[tuple[str, str]], images: int, sample: int, rounds: int) -> dict:
    """Every figure of both sets."""
    from wbc.dataset.images import read

    few = files[:: max(1, len(files) // sample)][:sample]
    sets = {name: all_cores(name, files, images) for name in MASKS}  # first, while this process is small
    for name in MASKS:
        sets[name] |= one_core(name, few, rounds)
    return {
        "device": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "size": read(*files[0]).shape[:2],
        "sample": len(few),
        "rounds": rounds,
        "sets": sets,
    }


def one_core(name: str, files: list[tuple[str, str]], rounds: int) -> dict:
    """Lists over the rounds of ms per image, by part, and the largest relative difference from the oracle."""
    import cv2
    import numpy as np
    from tqdm import tqdm

    from benchmarks.features_oracle import ORACLES
    from wbc.core.errors import UserError
    from wbc.dataset.images import read
    from wbc.features import feature_set
    from wbc.segment import method

    cv2.setNumThreads(1)
    names, extract = feature_set(name).NAMES, feature_set(name).extract
    segment = method(MASKS[name]).segment
    milliseconds = []
    for _ in tqdm(range(rounds + 1), f"{name}, one core", disable=None):
        images, decoding = timed(lambda: [read(*file) for file in files])
        masks, segmentation = timed(lambda images=images: [segment(image) for image in images])
        cells = [(image, mask) for image, mask in zip(images, masks, strict=True) if mask.any()]
        if not cells:
            raise UserError("no cell in any of the images")
        ours, features = timed(lambda cells=cells: [extract(*cell) for cell in cells])
        theirs, oracle = timed(lambda cells=cells: [ORACLES[name](*cell) for cell in cells])
        seconds = {"decoding": decoding, "segmentation": segmentation, "features": features, "oracle": oracle}
        milliseconds.append({part: 1000 * value / len(files) for part, value in seconds.items()})
    a, b = np.array(ours), np.array([[values[feature] for feature in names] for values in theirs])
    relative = np.abs(a - b) / np.where(b == 0, 1, np.abs(b))
    return {
        "milliseconds": {part: [round_[part] for round_ in milliseconds[1:]] for part in milliseconds[0]},
        "largest_difference": float(relative.max()),
        "of": names[int(relative.max(axis=0).argmax())],
    }


def all_cores(name: str, files: list[tuple[str, str]], images: int) -> dict:
    """Seconds for so many images on all cores, and MB of memory at most: after a quarter of them and after all."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    peaks, megabytes = {}, []
    started = time.perf_counter()
    tasks = (delayed(whole)(name, *file) for file in islice(cycle(files), images))
    results = Parallel(n_jobs=-1, return_as="generator")(tasks)
    for i, (process, peak) in enumerate(tqdm(results, f"{name}, all cores", images, disable=None), start=1):
        peaks[process] = peak
        if i in (max(1, images // 4), images):
            megabytes.append((peak_kilobytes() + sum(peaks.values())) / 1024)
    seconds = time.perf_counter() - started
    return {
        "images": images,
        "seconds": seconds,
        "megabytes_after_a_quarter": megabytes[0],
        "megabytes": megabytes[-1],
        "challenge_minutes": seconds / images * CHALLENGE / 60,
    }


def whole(name: str, path: str, sha256: str) -> tuple[int, int]:
    """From file to features; the process and its peak memory in kB."""
    import cv2

    from wbc.dataset.images import read
    from wbc.features import feature_set
    from wbc.segment import method

    cv2.setNumThreads(1)
    image = read(path, sha256)
    feature_set(name).extract(image, method(MASKS[name]).segment(image))
    return os.getpid(), peak_kilobytes()


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(call: Callable[[], list]) -> tuple[list, float]:
    """What a call returns, and its seconds."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def show(results: dict) -> None:
    """Print the figures as Markdown."""
    height, width = results["size"]
    print(f"\n{results['device']}, one core; n = {results['sample']} images of {width}×{height} px,", end=" ")
    print(f"{results['rounds']} rounds; ms per image, median (range)\n")
    sets = results["sets"]
    print(f"| | {' | '.join(sets)} |\n| --- |{' --- |' * len(sets)}")
    rows: dict[str, list[str]] = {}
    for measured in sets.values():
        decoding, segmentation, features, oracle = measured["milliseconds"].values()
        ours = [sum(parts) for parts in zip(decoding, segmentation, features, strict=True)]
        theirs = [sum(parts) for parts in zip(decoding, segmentation, oracle, strict=True)]
        lines = {
            "decoding": spread(decoding),
            "segmentation": spread(segmentation),
            "features": spread(features),
            "together": spread(ours),
            "features by scikit-image": spread(oracle),
            "together with those": spread(theirs),
            "features, scikit-image's : ours": spread(ratios(oracle, features)),
            "together, scikit-image's : ours": spread(ratios(theirs, ours)),
            "largest relative difference": f"{measured['largest_difference']:.1e} ({measured['of']})",
        }
        for label, text in lines.items():
            rows.setdefault(label, []).append(text)
    for label, texts in rows.items():
        print(f"| {label} | {' | '.join(texts)} |")
    print(f"\nAll {results['cores']} cores, start-up included:\n")
    for name, measured in sets.items():
        print(
            f"- {name}: {measured['images']:,} images in {measured['seconds']:.1f} s, so {CHALLENGE:,} in"
            f" {measured['challenge_minutes']:.1f} minutes; {measured['megabytes']:.0f} MB at most in all processes,"
            f" {measured['megabytes_after_a_quarter']:.0f} MB after a quarter of the images"
        )


def ratios(values: list[float], others: list[float]) -> list[float]:
    return [value / other for value, other in zip(values, others, strict=True)]


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
