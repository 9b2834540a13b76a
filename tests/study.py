"""A study of seconds: this repository's code in a git and DVC repository of its own, and the commands to use it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from ruamel.yaml import YAML

from wbc.config import read_yaml
from wbc.report import published

ROOT = Path(__file__).parent.parent
TINY = {
    "synthetic": {"train": 60, "test": 26, "minimum_train": 3, "minimum_test": 1, "size": 48},
    "split": {"folds": 2},
    "images": {"size": 32},
    "grid": {"implementation": "hist", "n_estimators": [2], "max_depth": [2], "smote_neighbors": 3},
    "train": {"validation": 0.34, "epochs": 2, "patience": 2, "batch_size": 16},
    "tta": {"passes": 1, "temperature": 0.8},
    "ladder": {
        "efficientnet": {"train": {"epochs": 1}},
        "convnext_restarts": {"train": {"epochs": 2}},
        "freeze": {"train": {"freeze": 1, "epochs": 2}},
    },
}
COPIED = ("stages", "wbc", "dvc.yaml", "params.yaml", "data/public_scores.csv")
COPIED += ("data/weights", ".dvc/plots", ".gitattributes", ".gitignore", ".dvcignore")
LEFT_OUT = ("convnext_cosine", "mixup", "cutmix")  # rows that take time; what they change, the next one does


def study_params() -> dict:
    """params.yaml without the rows and feature sets that somebody added to the study's: what the tests speak of."""
    return of_the_study(read_yaml(ROOT / "params.yaml"))


def of_the_study(params: dict) -> dict:
    for group, names in (("ladder", published.ROWS), ("features", published.CLASSIFIERS)):
        for name in params[group].keys() - names:
            del params[group][name]
    return params


def start(path: Path, change: Callable[[dict], None]) -> None:
    """A git and DVC repository of this code in `path`, on the branch main, after a change to params.yaml."""
    git(path, "init", "-q", "-b", "main")
    name_the_author(path)
    dvc(path, "init", "-q")
    dvc(path, "config", "core.analytics", "false")
    for name in COPIED:
        source, target = ROOT / name, path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    text = YAML()
    params = text.load(path / "params.yaml")
    change(params)
    text.dump(params, path / "params.yaml")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "study")


def make(path: Path) -> None:
    """Reproduce the tiny study in `path` and commit it there."""
    start(path, tiny)
    dvc(path, "repro")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "results")


def tiny(params: dict) -> None:
    of_the_study(params)
    shrink(params, TINY)
    ladder = params["ladder"]
    following = dict(pairwise(ladder))
    for row in LEFT_OUT:
        ladder[following[row]] = merge(ladder.pop(row), ladder[following[row]])


def shrink(params: dict, smaller: dict) -> None:
    """Give the sample's profile these values."""
    for key, value in smaller.items():
        if isinstance(value, dict):
            shrink(params[key], value)
        else:
            report = params[key]["report"] if isinstance(params[key], dict) else params[key]
            params[key] = {"report": report, "sample": value}


def merge(base, delta):
    merged = dict(base)
    for key, value in delta.items():
        merged[key] = merge(base[key], value) if isinstance(base.get(key), dict) else value
    return merged


def set_knob(params: dict, change: str) -> None:
    """Set `knob=value` in the values of params.yaml as `dvc exp run -S` does: a new knob needs a plus before it."""
    new, (knob, text) = change.startswith("+"), change.lstrip("+").split("=", 1)
    *parents, last = knob.split(".")
    node = params
    for parent in parents:
        node = node[parent]
    assert new or last in node, f"no knob {knob}"
    node[last] = YAML(typ="safe", pure=True).load(text)


def name_the_author(path):
    git(path, "config", "user.email", "test@example.com")
    git(path, "config", "user.name", "test")


def clone(source: Path, path: Path, cache: Path | None = None) -> Path:
    """A `git clone`; with the `cache` of another repository it has that one's data and models too."""
    run(source, "git", "clone", "-q", source, path)
    name_the_author(path)
    if cache:
        dvc(path, "cache", "dir", "--local", cache / ".dvc/cache")
        dvc(path, "checkout", "-q")
    return path


def run(path, *command, check=True, cores=1):
    # the stages say `python`: that of these tests; on one core, since starting processes takes longer than such fits
    env = os.environ | {"LOKY_MAX_CPU_COUNT": str(cores)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(command, cwd=path, env=env, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def git(path, *arguments, check=True):
    return run(path, "git", *arguments, check=check)


def dvc(path, *arguments, **options):
    return run(path, sys.executable, "-m", "dvc", *arguments, **options)


def ran(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def restore(study):
    """Back to the study as it was committed."""
    git(study, "checkout", "-q", ".")
    git(study, "clean", "-qfd")
    dvc(study, "checkout", "-q")
    assert not ran(dvc(study, "repro"))
