"""Time and memory of the stages before the networks, up to a million images: `python -m benchmarks.scale FOLDER`.

Draws 1,000 cells and from each, rotated, scaled, shifted and with another brightness, as many 32 px images as asked
for into FOLDER/raw, so that few are near copies. Runs the stages in a clone of the last commit, FOLDER/study. Prints
wall time, CPU time and the largest memory of all processes of a stage together, sampled every 0.5 s.
"""

import argparse
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from wbc.config.files import dumped, read_yaml
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.core.parallel import parallel_map
from wbc.synthetic import draw

SIZES = (38_535, 171_373, 1_000_000)  # the challenge's; that of BMC (Matek et al. 2021)
STAGES = {"ingest": "study", "split": "0", "pack": "study", "segment": "study", "features": "study"}
ONE = {"segment": {"methods": ["hsv"]}, "features": {"masks": {"v1": "hsv"}}}  # one method and one set are measured
CELLS, SIZE, CHUNK = 1000, 32, 1000  # cells drawn, pixels a side, images per folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with 10 GB and as many free inodes as images")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of images")
    arguments = parser.parse_args()
    for images in arguments.sizes:
        draw_images(arguments.folder / "raw", images)
        study = clone(arguments.folder / "study")
        for stage, item in STAGES.items():
            found = measure([sys.executable, "-m", "stages", stage, item], study)
            print(f"{images:9,} {stage:10} {found}", flush=True)


def draw_images(root: Path, images: int) -> None:
    """Draw those of the first `images` images that are missing, and list them."""
    labels = [CLASSES[i % len(CLASSES)] for i in range(CELLS)]
    cells = [draw(labels[i], 2 * SIZE, np.random.default_rng([206, i]))[0] for i in range(CELLS)]
    jobs = [(root, range(first, min(first + CHUNK, images)), cells) for first in range(0, images, CHUNK)]
    list(parallel_map(draw_chunk, jobs, len(jobs), "drawing", threads=True))
    rows = ((path_of(root, i).relative_to(root / "images").as_posix(), labels[i % CELLS]) for i in range(images))
    write_csv(root / "labels.csv", ["ID", "labels"], rows)


def path_of(root: Path, number: int) -> Path:
    return root / f"images/{number // CHUNK:04d}/{number:07d}.jpg"


def draw_chunk(root: Path, numbers: range, cells: list[np.ndarray]) -> None:
    if path_of(root, numbers[-1]).exists():
        return
    path_of(root, numbers[0]).parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([207, numbers[0]])
    for number in numbers:
        change = cv2.getRotationMatrix2D((SIZE, SIZE), rng.uniform(0, 360), rng.uniform(0.8, 1.2))
        change[:, 2] += rng.uniform(-6, 6, 2)
        cell = cv2.warpAffine(cells[number % CELLS], change, (2 * SIZE, 2 * SIZE), borderMode=cv2.BORDER_REFLECT)
        small = cv2.resize(cell, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        lit = cv2.convertScaleAbs(small, alpha=rng.uniform(0.85, 1), beta=rng.uniform(0, 20))
        cv2.imwrite(str(path_of(root, number)), lit[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def clone(study: Path) -> Path:
    """Clone the last commit, with these images as its data."""
    if not study.exists():
        subprocess.run(["git", "clone", "--quiet", ".", study], check=True)
        params = read_yaml(study / "params.yaml")
        params["data"] |= {"source": "folder", "path": str(study.parent.absolute() / "raw")}
        params["images"]["size"] = SIZE
        (study / "params.yaml").write_text(dumped(params), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "stages", "configure"], cwd=study, check=True, stdout=subprocess.DEVNULL)
        for stage, chosen in ONE.items():
            path = study / f"settings/{stage}.yaml"
            path.write_text(dumped(read_yaml(path) | chosen), encoding="utf-8")
    return study


def measure(command: list[str], where: Path) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak MiB of a command."""
    start, before, peak = time.perf_counter(), cpu_seconds(), 0.0
    process = psutil.Popen(command, cwd=where, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(resident(pid) for pid in (process.pid, *(child.pid for child in process.children(True)))))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed")
    seconds = time.perf_counter() - start
    return {"s": round(seconds, 1), "cpu_s": round(cpu_seconds() - before, 1), "mib": round(peak)}


def cpu_seconds() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def resident(pid: int) -> float:
    """MiB of a process without the pages of mapped files, shared pages in proportion (Linux)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0.0
    return sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem): +(\d+)", text, re.MULTILINE))) / 1024


if __name__ == "__main__":
    main()
