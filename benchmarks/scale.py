"""From the challenge's size to a million images: what a stage takes of time and memory per image.

    python -m benchmarks.scale FOLDER --json scale.json --figure docs/scale.png

Draws 1,000 cells and from each, turned, scaled, shifted and lit otherwise, as many images of 32 pixels a side as are
asked for, into FOLDER/raw (what is there is kept), so that hardly any two are near copies. Then clones this repository
into FOLDER/study and runs the stages on the first 38,535, on 171,373 (the size of BMC, Matek et al. 2021) and on
a million. Small images show what grows with their number; what grows with their size is `benchmarks.full_size`'s.
For each stage: wall time, CPU time, and the most memory that all its processes together had at one moment, as there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SIZES = (38_535, 171_373, 1_000_000)
STAGES = {"ingest": "study", "split": "0", "pack": "study", "segment": "study", "features": "study"}
ONE = {"segment": {"methods": ["hsv"]}, "features": {"masks": {"v1": "hsv"}}}  # of several, what is measured
CELLS, SIZE = 1000, 32
CHUNK = 1000  # images of a folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where there are 10 GB and as many free inodes as images")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="how many images")
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=[*STAGES])
    parser.add_argument("--json", type=Path, help="write the figures here too, beside those that it has")
    parser.add_argument("--figure", type=Path, help="draw all that the JSON file has")
    arguments = parser.parse_args()
    results = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    for images in arguments.sizes:
        draw(arguments.folder / "raw", images)
        study = clone(arguments.folder / "study")
        for stage in arguments.stages:
            found = measured([sys.executable, "-m", f"stages.{stage}", STAGES[stage]], study)
            results.setdefault(stage, {})[str(images)] = found
            each = {name: f"{value / images:.3g} each" for name, value in found.items()}
            print(f"{images:9,} {stage:10} {found} {each}", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.figure:
        draw_figure(results, arguments.figure)


def draw(root: Path, images: int) -> None:
    """The first so many images, and the list of them."""
    import numpy as np

    from wbc.core.classes import CLASSES
    from wbc.core.io import write_csv
    from wbc.core.parallel import parallel_map
    from wbc.synthetic import draw

    chunks = [range(first, min(first + CHUNK, images)) for first in range(0, images, CHUNK)]
    missing = [chunk for chunk in chunks if not file(root, chunk[-1]).exists()]
    labels = [CLASSES[i % CELLS % len(CLASSES)] for i in range(images)]
    if missing:
        cells = [draw(labels[i], 2 * SIZE, np.random.default_rng([206, i]))[0] for i in range(CELLS)]
        for _ in parallel_map(vary, ((root, chunk, cells) for chunk in missing), len(missing), "drawing", threads=True):
            pass
    (root / "labels.csv").unlink(missing_ok=True)
    ids = (file(root, i).relative_to(root / "images").as_posix() for i in range(images))
    write_csv(root / "labels.csv", ["ID", "labels"], zip(ids, labels, strict=True))


def file(root: Path, number: int) -> Path:
    return root / f"images/{number // CHUNK:04d}/{number:07d}.jpg"


def vary(root: Path, numbers: range, cells: list) -> None:
    import cv2
    import numpy as np

    folder = file(root, numbers[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([207, numbers[0]])
    for number in numbers:
        change = cv2.getRotationMatrix2D((SIZE, SIZE), rng.uniform(0, 360), rng.uniform(0.8, 1.2))
        change[:, 2] += rng.uniform(-6, 6, 2)
        cell = cv2.warpAffine(cells[number % CELLS], change, (2 * SIZE, 2 * SIZE), borderMode=cv2.BORDER_REFLECT)
        small = cv2.resize(cell, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        lit = cv2.convertScaleAbs(small, alpha=rng.uniform(0.85, 1), beta=rng.uniform(0, 20))
        cv2.imwrite(str(file(root, number)), lit[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def clone(study: Path) -> Path:
    """A clone of the last commit, set to these images."""
    from ruamel.yaml import YAML

    if not study.exists():
        subprocess.run(["git", "clone", "--quiet", ".", study], check=True)
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=study, check=True)
    subprocess.run(["git", "pull", "--quiet"], cwd=study, check=True)
    yaml = YAML()
    params = yaml.load(study / "params.yaml")
    params["data"] |= {"source": "folder", "path": str(study.parent.absolute() / "raw")}
    params["images"]["size"] = SIZE
    yaml.dump(params, study / "params.yaml")
    subprocess.run([sys.executable, "-m", "stages.configure"], cwd=study, check=True, stdout=subprocess.DEVNULL)
    for stage, chosen in ONE.items():
        path = study / f"settings/{stage}.yaml"
        yaml.dump(yaml.load(path) | chosen, path)
    return study


def measured(command: list[str], where: Path) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak MiB of a command."""
    import resource

    from benchmarks.full_size import measured

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    seconds, peak, _ = measured(command, where)
    return {"s": round(seconds, 1), "cpu_s": round(used() - before, 1), "mib": round(peak)}


def draw_figure(results: dict, path: Path) -> None:
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
    for stage, by_size in results.items():
        sizes = sorted(map(int, by_size))
        each = [by_size[str(size)] for size in sizes]
        left.plot(sizes, [1000 * f["cpu_s"] / n for n, f in zip(sizes, each, strict=True)], "o-", ms=3, label=stage)
        right.plot(sizes, [1024 * f["mib"] / n for n, f in zip(sizes, each, strict=True)], "o-", ms=3, label=stage)
    for axes, title in ((left, "CPU time per image, ms"), (right, "peak memory of all processes per image, KiB")):
        axes.set(xscale="log", xlabel="images", title=title, xticks=SIZES, xticklabels=[f"{n:,}" for n in SIZES])
        axes.minorticks_off()
    left.set_ylim(bottom=0)
    right.set(yscale="log", yticks=(0.5, 1, 2, 5), yticklabels=("0.5", "1", "2", "5"))
    right.minorticks_off()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=len(results))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
