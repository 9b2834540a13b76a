"""The challenge's size without its images: what each stage takes of time and memory.

    python -m benchmarks.full_size FOLDER --json full_size.json

Draws the 38,535 labelled images of WBCBench 2026, class by class, as 368×370 JPEGs in that archive's layout into
FOLDER/raw: every drawn cell in its eight orientations, since drawing takes longest (minutes; what is there is kept).
Then clones this repository into FOLDER/study, sets the report profile on these images, and reproduces each stage
before the networks. For each of them: wall time, and the most memory that all its processes together had at one
moment (anonymous and shared pages, looked at every half second; pages of mapped files are the system's to take back,
and are left out). At last, how long DVC takes to find that nothing changed.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

POOL = {  # labelled images per class of WBCBench 2026: 38,535
    "SNE": 17354, "LY": 10801, "MO": 3661, "BL": 2683, "EO": 1148, "MY": 588, "BA": 554, "BNE": 522, "VLY": 488,
    "MMY": 480, "PMY": 152, "PC": 90, "PLY": 14,
}  # fmt: skip
LISTS = {"phase1_label.csv": 8288, "phase2_train.csv": 24897, "phase2_eval.csv": 5350}  # rows of each
STAGES = ("configure", "draw", "ingest", "split@0", "pack@study", "segment@study", "features@study")
SETTINGS = {r"^profile: \w+": "profile: report", r"^  source: .+": "  source: wbcbench"}
DVC = [sys.executable, "-m", "dvc"]
NOTHING_TO_DO = {"repro": [*DVC, "repro", "pack@study", "features@study"], "status": [*DVC, "status"]}
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where there are 8 GB")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    draw_archive(arguments.folder / "raw")
    study = clone(arguments.folder)
    results = {"stages": {}}
    for stage in STAGES:
        seconds, memory, output = measured([*DVC, "repro", "--single-item", "--force", stage], study)
        results["stages"][stage] = {"seconds": seconds, "peak_mib": memory}
        print(f"{stage:14} {seconds:7.1f} s {memory:7.0f} MiB   {last_line(output)}", flush=True)
    for name, command in NOTHING_TO_DO.items():
        times = [measured(command, study)[0] for _ in range(REPEATS)]
        results[name] = times
        print(f"{name:14} {statistics.median(times):7.1f} s ({min(times):.1f}–{max(times):.1f}, n = {REPEATS})")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def draw_archive(root: Path) -> None:
    """The archive's three lists and their images, the classes in blocks as in the original."""
    import joblib
    import numpy as np
    from tqdm import tqdm

    from wbc.core.io import write_csv

    root.mkdir(parents=True, exist_ok=True)
    labels = [label for label, count in POOL.items() for _ in range(count)]
    order = np.random.default_rng(205).permutation(len(labels))  # every list holds every class
    for (name, count), start in zip(LISTS.items(), np.cumsum([0, *LISTS.values()]), strict=False):
        chosen = sorted(order[start : start + count])
        write_csv(root / name, ["ID", "labels", "split"], [(file(root, i).name, labels[i], name) for i in chosen])
    folder = root / "images"
    folder.mkdir(exist_ok=True)
    eights = [range(i, min(i + 8, len(labels))) for i in range(0, len(labels), 8)]
    missing = [eight for eight in eights if not all(file(folder, i).exists() for i in eight)]
    jobs = (joblib.delayed(draw_eight)(folder, eight, [labels[i] for i in eight]) for eight in missing)
    for _ in tqdm(joblib.Parallel(n_jobs=-1, return_as="generator")(jobs), "drawing", len(missing)):
        pass


def file(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.jpg"


def draw_eight(folder: Path, numbers: range, labels: list[str]) -> None:
    """One cell turned and mirrored; where a class ends within the eight, the rest is a cell of the next."""
    import cv2
    import numpy as np

    from wbc.core.io import atomic
    from wbc.synthetic import draw

    cells = {label: draw(label, 370, np.random.default_rng([205, numbers[0]]))[0] for label in dict.fromkeys(labels)}
    for turn, (number, label) in enumerate(zip(numbers, labels, strict=True)):
        image = np.rot90(cells[label], turn % 4)[:, :: 1 if turn < 4 else -1]
        jpeg = cv2.imencode(".jpg", image[:, 1:-1, ::-1])[1]
        with atomic(file(folder, number)) as temporary:  # interrupted, it goes on where it was
            temporary.write_bytes(jpeg)


def clone(folder: Path) -> Path:
    """A fresh clone of the last commit with the report profile on the drawn archive."""
    study = folder / "study"
    shutil.rmtree(study, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ".", study], check=True)
    text = (study / "params.yaml").read_text(encoding="utf-8")
    for old, new in SETTINGS.items():
        text, found = re.subn(old, new, text, flags=re.MULTILINE)
        assert found == 1
    (study / "params.yaml").write_text(text, encoding="utf-8")
    (study / "data/raw").symlink_to("../../raw")
    return study


def measured(command: list[str], where: Path) -> tuple[float, float, str]:
    """Seconds, peak MiB and output of a command."""
    import psutil

    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        parent = psutil.Process(process.pid)
        while not ended.wait(0.5):
            try:
                tree = [parent, *parent.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            peak[0] = max(peak[0], sum(map(resident, tree)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.communicate()[0]
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{output}")
    return seconds, peak[0], output


def resident(process) -> float:
    """MiB of a process that no file on disk backs, shared ones in proportion (Linux)."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # it has just ended
        return 0.0
    return sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem): +(\d+)", text, re.MULTILINE))) / 1024


def last_line(output: str) -> str:
    """The stage's own last words."""
    lines = [line.strip() for line in output.splitlines() if "CPU time" in line]
    return lines[-1] if lines else ""


if __name__ == "__main__":
    main()
