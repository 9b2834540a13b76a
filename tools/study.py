"""Run a study: this pipeline with other settings on other images.

    make study                                   # list the studies
    make study NAME=pbc DATA=/path/to/the/images # run one, or continue it

`studies/<name>.yaml` has what the study is about, and the values that replace those in params.yaml. The study runs in a
clone of the last commit, .scratch/studies/<name>, that shares this repository's DVC cache. Its tables, figures and
lock file are then copied to `studies/<name>/`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from wbc.config.files import LEFT_OUT, ConfigError, dumped, read_yaml
from wbc.config.resolve import merge, resolve
from wbc.core.classes import CLASSES
from wbc.core.compute import pin
from wbc.core.errors import UserError
from wbc.core.io import write_text

STUDIES, COPIES = Path("studies"), Path(".scratch/studies")
KEPT = ("params.yaml", "dvc.lock", "metrics/results.json", "plots/results.md", "plots/results.png", "plots/tables.md")
KEPT += tuple(f"plots/{name}.csv" for name in ("results", "differences", "per_class", "confusion", "calibration"))
DVC = (sys.executable, "-m", "dvc")
CODE = ("wbc/", "stages/")
IMAGES = 256  # that the speed is measured on


def study(name: str) -> dict[str, Any]:
    """`about` and `params` of a study.

    Raises:
        ConfigError: there is no such study.
    """
    known = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"studies/{name}.yaml: no such file; there are: {', '.join(known)}")
    return read_yaml(STUDIES / f"{name}.yaml")


def changed_code(name: str) -> list[str]:
    """Files and folders of code that are not as they were when the results in `studies/<name>/` were made."""
    then, now = (_code(path / "dvc.lock") for path in (STUDIES / name, Path()))
    return sorted(path for path in then if then[path] != now.get(path))


def _code(lock: Path) -> dict[str, str]:
    stages = read_yaml(lock)["stages"].values()
    return {it["path"]: it["md5"] for stage in stages for it in stage["deps"] if it["path"].startswith(CODE)}


def copy(name: str) -> Path:
    """The clone that a study runs in, with the last commit and the study's settings.

    Raises:
        UserError: there are changes without a commit, which the clone would lack.
    """
    if changed := _output("git", "diff", "--name-only", "HEAD"):
        raise UserError(f"commit first: a study runs the last commit, without the changes in {changed.splitlines()[0]}")
    folder, commit = COPIES / name, _output("git", "rev-parse", "HEAD")
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", ".", folder], check=True)
    subprocess.run(["git", "fetch", "--quiet", "origin", commit], cwd=folder, check=True)
    subprocess.run(["git", "checkout", "--quiet", "--force", "--detach", commit], cwd=folder, check=True)
    shared = Path(_output(*DVC, "cache", "dir")).absolute()
    subprocess.run([*DVC, "cache", "dir", "--quiet", "--local", shared], cwd=folder, check=True)
    params = merge(read_yaml(folder / "params.yaml"), study(name)["params"])
    write_text(folder / "params.yaml", dumped(params))
    return folder


def seconds(settings: Mapping[str, Mapping[str, Any]], train: int, test: int) -> dict[str, float]:
    """How long each row takes at most in one process, at the speed of its network on random images.

    Args:
        settings: as `resolve` returned them.
        train: number of training images.
        test: number of test images.
    """
    import numpy as np
    import torch
    from tqdm import tqdm

    from wbc.config.schema import Training
    from wbc.network.inference import choose_device, infer
    from wbc.network.pixels import Part, Pixels
    from wbc.train.engine import Trainer

    @cache
    def measure(name: str, size: int) -> tuple[float, float]:  # per image, to train and to predict
        row = next(row for row in rows.values() if row.model.name == name)
        row = row.model_copy(update={"model": row.model.model_copy(update={"weights": "none"})})
        packed = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)
        pixels = Pixels(packed, np.arange(IMAGES), choose_device())
        trainer, times = Trainer(row, Part(np.arange(IMAGES), pixels, torch.arange(IMAGES) % len(CLASSES))), []
        for call in (lambda: trainer.epoch(0, tqdm(disable=True)), lambda: infer(trainer.model, trainer.plain, pixels)):
            call()
            started = time.perf_counter()
            call()
            times.append((time.perf_counter() - started) / IMAGES)
        return tuple(times)

    found = {name.partition("/")[2]: row for name, row in settings.items() if name.startswith("train/")}
    rows = {name: Training(**row) for name, row in found.items() if row != LEFT_OUT}
    costs, passes = {}, settings["predict"]["tta"]["passes"] + 2
    for name, row in rows.items():
        learn, predict = measure(row.model.name, row.model.size or row.images.size)
        costs[name] = learn * (row.train.epochs + (row.train.retrain or 0)) * train + predict * passes * test
    return costs


def run(name: str, data: Path) -> None:
    """Run a study on the images in the folder `data`, and copy its results to studies/<name>/."""
    folder = copy(name)
    params = read_yaml(folder / "params.yaml")
    settings = resolve(params)
    compute, link = settings["report"]["compute"], folder / params["data"]["path"]
    if not data.is_dir():
        raise UserError(f"{data}: no such folder")
    link.unlink(missing_ok=True)
    link.symlink_to(data.absolute(), target_is_directory=True)
    jobs = max(1, len(os.sched_getaffinity(0)) // compute["threads"])

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the stages say `python`

    def repro(*targets: str) -> None:
        command = [*DVC, "--wait-for-lock", "repro", "--quiet", *targets]
        if subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}).returncode:
            raise UserError(f"{' '.join(targets)}: failed in {folder}; the same command continues")

    repro("pack", "pack_external", "split")  # all that training and prediction depend on
    split = folder / f"data/split/{settings['report']['repeats'][0]}/folds.csv"
    folds = [line.rpartition(",")[2] for line in split.read_text(encoding="utf-8").splitlines()[1:]]
    pin(**compute)
    costs, repeats = seconds(settings, len(folds) - folds.count("-1"), folds.count("-1")), settings["report"]["repeats"]
    hours = sum(costs.values()) * len(repeats) / jobs / 3600
    print(f"networks: at most {hours:.1f} hours, {jobs} at a time; classical models are extra", flush=True)
    # The longest first, so that the last ones end together
    rows = [f"{row}-{repeat}" for repeat in repeats for row in sorted(costs, key=costs.get, reverse=True)]
    with ThreadPoolExecutor(jobs) as pool:
        stages = ([f"{stage}@{row}" for stage in ("train", "predict", "embed")] for row in rows)
        list(pool.map(lambda targets: repro("--single-item", *targets), stages))
    repro()
    for path in KEPT:
        target = STUDIES / name / Path(path).name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / path, target)
    write_text(STUDIES / name / "commit", _output("git", "rev-parse", "HEAD", cwd=folder) + "\n")
    print(f"{STUDIES / name}: tables, figures, settings and lock file; the page is {folder}/plots/report.html")


def state(name: str) -> str:
    """A line on a study: what it is about, and whether its results are those of today's code."""
    if not (STUDIES / name / "dvc.lock").exists():
        found = "not run yet"
    elif changed := changed_code(name):
        found = f"made by older code: since then changed {', '.join(changed)}"
    else:
        found = "made by today's code"
    return f"{name}: {study(name)['about']}; {found}"


def _output(*command: str, cwd: Path = Path()) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="the study; none: list all")
    parser.add_argument("data", nargs="?", type=Path, help="the folder of its images")
    options = parser.parse_args()
    try:
        if options.name and options.data:
            run(options.name, options.data)
        for path in [] if options.name else sorted(STUDIES.glob("*.yaml")):
            print(state(path.stem))
        if options.name and not options.data:
            sys.exit("error: which images? make study NAME=… DATA=folder")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
