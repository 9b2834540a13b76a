"""Rows trained one after another and side by side, as `make repro JOBS=2` does: time, memory and bytes.

    python -m benchmarks.side_by_side FOLDER --json jobs.json --figure docs/side_by_side.png

Clones the last commit into FOLDER/study, makes what the rows need, and trains them all with one and with two at a time,
with as many threads for each as this machine has cores, and with one. Two rows of as many threads as there are cores
share what one would use; two of one thread each show what a machine gains that has cores to spare. Threads change a
model's last bits, JOBS none, which is checked. Memory: the most that all processes together held at one moment, as in
`benchmarks.full_size`.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.full_size import DVC, measured

JOBS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where there is 1 GB")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--figure", type=Path, help="draw them here")
    arguments = parser.parse_args()
    study = arguments.folder / "study"
    if not study.exists():
        subprocess.run(["git", "clone", "--quiet", ".", study], check=True)
        subprocess.run([*DVC, "repro", "--quiet", "pack@study", "split"], cwd=study, check=True)
    names = subprocess.run(
        [*DVC, "stage", "list", "--name-only"], cwd=study, check=True, capture_output=True, text=True
    )
    rows = [name for name in names.stdout.split() if name.startswith("train@")]
    threads = (os.cpu_count(), 1)
    results, models = {}, {}
    for each, jobs in itertools.product(threads, JOBS):
        set_threads(study, each)
        seconds, mib, _ = measured(train(rows, jobs), study)
        digests = {path.parts[-3]: digest(path) for path in study.glob("runs/*/train/model.safetensors")}
        if models.setdefault(each, digests) != digests:
            sys.exit(f"error: {jobs} at a time left other bytes")
        found = {"s": round(seconds, 1), "mib": round(mib)}
        results.setdefault(f"{each} thread" + "s" * (each > 1), {})[f"{jobs} at a time"] = found
        print(f"{len(rows)} rows, {each} threads each, {jobs} at a time: {seconds:6.1f} s {mib:6.0f} MiB", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.figure:
        draw_figure(results, arguments.figure)


def train(rows: list[str], jobs: int) -> list[str]:
    """The Makefile's command, but that nothing comes from a cache."""
    command = [*DVC, "--wait-for-lock", "repro", "--force", "--single-item"]
    if jobs == 1:
        return [*command, *rows]
    return ["sh", "-c", f"echo {' '.join(rows)} | xargs -P {jobs} -n 1 {' '.join(command)}"]


def set_threads(study: Path, threads: int) -> None:
    params = study / "params.yaml"
    params.write_text(re.sub(r"^  threads: \d+", f"  threads: {threads}", params.read_text(), flags=re.MULTILINE))
    subprocess.run([sys.executable, "-m", "stages.configure"], cwd=study, check=True, stdout=subprocess.DEVNULL)


def draw_figure(results: dict, path: Path) -> None:
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure, sides = plt.subplots(1, 2, figsize=(7.2, 2.2), layout="constrained")
    for axes, key, unit, title in zip(
        sides, ("s", "mib"), (60, 1024), ("minutes, all rows", "peak memory of all processes, GiB"), strict=True
    ):
        for offset, (threads, by_jobs) in zip((-0.2, 0.2), results.items(), strict=True):
            values = [found[key] / unit for found in by_jobs.values()]
            bars = axes.bar([i + offset for i in range(len(values))], values, 0.36, label=f"{threads} for each row")
            axes.bar_label(bars, fmt="%.1f")
        axes.margins(y=0.15)
        axes.set(title=title, xticks=range(len(JOBS)), xticklabels=by_jobs)
    figure.legend(*sides[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=2)
    figure.savefig(path, dpi=110)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
