"""A tiny study: this repository's code and small settings in a git and DVC repository of its own."""

import contextlib
import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import networkx as nx
import numpy as np
from dvc.repo import Repo
from PIL import Image
from ruamel.yaml import YAML

from stages.__main__ import main
from wbc.config.files import dumped, read_yaml
from wbc.config.resolve import merge, resolve
from wbc.core.io import write_text
from wbc.features import feature_set

ROOT = Path(__file__).parent.parent
OURS = {  # names in params.yaml; somebody may have added others
    "ladder": ["efficientnet", "convnext_cosine", "convnext_restarts", "mixup", "freeze", "cutmix", "final", "tuned"],
    "features": ["v1", "v2", "v3"],
    "external": ["laboratory"],
}
TINY = {
    "compute": {"threads": 1},
    "synthetic": {"train": 60, "test": 26, "minimum_train": 3, "minimum_test": 1, "laboratory": 13, "size": 48},
    "split": {"folds": 2},
    "images": {"size": 32},
    "grid": {"implementation": "hist", "n_estimators": [2], "max_depth": [2], "smote_neighbors": 3},
    "train": {"validation": 0.34, "epochs": 2, "patience": 2, "batch_size": 16},
    "tta": {"passes": 1, "temperature": 0.8},
}
ROWS = {
    "convnext_restarts": {"schedule": {"name": "restarts"}},
    "final": {"loss": {"gamma": 1.0}, "train": {"freeze": 1}, "mix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}},
    "tuned": {
        "from": "base",
        "model": {"name": "tf_efficientnet_lite0", "weights": "imagenet"},
        "loss": {"name": "cross_entropy"},
        "train": {"sampler": "shuffle", "epochs": 1, "retrain": 1},
    },
}
ALONE = {
    "compute": {"threads": 1},
    "data": {"source": "folder"},
    "images": {"size": 32, "crop": 1.0},
    "model": {"name": "test_convnext", "weights": "none", "hidden": 16, "dropout": 0.0},
    "optim": {"lr_backbone": 1e-3},
    "train": {"validation": 0.34, "epochs": 10, "patience": 10, "batch_size": 7},
    "augment": {"flip": 0.0, "rotation": 0, "translate": 0.0, "scale": [1.0, 1.0]}
    | dict.fromkeys(("brightness", "contrast", "saturation", "erase"), 0.0),
}
COPIED = ("stages", "wbc", "dvc.yaml", "params.yaml", "data/public_scores.csv")
COPIED += ("data/weights", ".dvc/plots", ".gitattributes", ".gitignore", ".dvcignore")


def of_the_report(features: str) -> tuple[str, ...]:
    """The features of a set that the report names or leaves open, without those that somebody added."""
    return tuple(feature.name for feature in feature_set(features).TABLE if re.search("§|chosen", feature.source))


def study_params() -> dict:
    """params.yaml without what somebody added to the study."""
    return without_additions(read_yaml(ROOT / "params.yaml"))


def without_additions(params: dict) -> dict:
    for group, names in OURS.items():
        for name in params[group].keys() - names:
            del params[group][name]
    params |= {"rows": [], "repeats": [0]}
    params["blend"] |= {"row": "tuned", "features": "v3"}
    params["robustness"]["rows"] = ["final"]
    return params


def tiny(params: dict) -> None:
    """Three rows that train in seconds."""
    params.update(merge(without_additions(params), TINY))
    params["ladder"] = copy.deepcopy(ROWS)


def alone(params: dict) -> None:
    """A ladder of one row, `alone`, without augmentation."""
    params.update(merge(without_additions(params), ALONE))
    params["ladder"] = {"alone": {}}
    params["blend"]["row"], params["robustness"]["rows"] = "alone", []


def set_knob(params: dict, change: str) -> None:
    """Set `knob=value` in the values of params.yaml as `dvc exp run -S` does: `+` adds one, `~knob` takes one out."""
    new, (knob, _, text) = change.startswith("+"), change.lstrip("+~").partition("=")
    *parents, last = knob.split(".")
    node = params
    for parent in parents:
        node = node.setdefault(parent, {}) if new else node[parent]
    assert new or last in node, f"no knob {knob}"
    if change.startswith("~"):
        del node[last]
    else:
        node[last] = YAML(typ="safe", pure=True).load(text)


def write_params(path: Path, change: Callable[[dict], None]) -> None:
    """This repository's params.yaml in `path`, after a change."""
    text = YAML()
    params = text.load(ROOT / "params.yaml")
    change(params)
    text.dump(params, path / "params.yaml")


def write_settings(params: dict, *stages: str) -> None:
    """What `configure` writes of params, in the current folder: settings/ of these stages, or of all."""
    for name, values in resolve(params).items():
        if not stages or name.partition("/")[0] in stages:
            write_text(f"settings/{name}.yaml", dumped(values))


def start(path: Path, change: Callable[[dict], None]) -> None:
    """A git and DVC repository of this code in `path`, on the branch main, after a change to params.yaml."""
    git(path, "init", "-q", "-b", "main")
    name_the_author(path)
    dvc(path, "init", "-q")
    dvc(path, "config", "core.analytics", "false")
    for source, target in ((ROOT / name, path / name) for name in COPIED):
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    write_params(path, change)
    git(path, "add", "-A")
    git(path, "commit", "-qm", "study")


def reproduce(path: Path) -> None:
    """Run all stages in this process, since `dvc repro` would start one for each; then let DVC record the outputs."""
    with contextlib.chdir(path), mock.patch.dict(os.environ, environment()), Repo() as repo:
        for stage in reversed(list(nx.topological_sort(repo.index.graph))):
            main(*stage.cmd.split()[3:])
        repo.commit(force=True)
    shutil.rmtree(path / ".scratch")


def make(path: Path) -> Path:
    """Make the tiny study in `path`, a new folder, and commit it there."""
    making = path.with_name(f"{path.name}.part")
    making.mkdir()
    start(making, tiny)
    reproduce(making)
    git(making, "add", "-A")
    git(making, "commit", "-qm", "results")
    return making.rename(path)


def pack(path: Path, change: Callable[[dict], None]) -> None:
    """Settings and packed images in `path`, after a change to params.yaml: of two classes that take time to learn."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 2)):
        for label, colour in (("SNE", (131, 128, 125)), ("LY", (125, 128, 131))):
            folder = path / "data/raw" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                image = np.add(colour, rng.integers(-60, 60, (32, 32, 3))).astype(np.uint8)
                Image.fromarray(image).save(folder / f"{part}-{label}-{number}.png")
    write_params(path, change)
    with contextlib.chdir(path):
        for stage in (("configure",), ("ingest", "study"), ("split", "0"), ("pack", "study")):
            main(*stage)


def clone(source: Path, path: Path, cache: Path | None = None) -> Path:
    """A `git clone`; with the `cache` of another repository it has that one's data and models too."""
    run(source, "git", "clone", "-q", source, path)
    name_the_author(path)
    if cache:
        dvc(path, "cache", "dir", "--local", dvc(cache, "cache", "dir").strip())
        dvc(path, "checkout", "-q")
    return path


def name_the_author(path):
    git(path, "config", "user.email", "test@example.com")
    git(path, "config", "user.name", "test")


def run(path, *command, check=True, cores=1):
    done = subprocess.run(command, cwd=path, env=environment(cores), capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def environment(cores=1):
    # the stages say `python`: that of these tests; on one core, since starting processes takes longer than such fits
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"LOKY_MAX_CPU_COUNT": str(cores), "PATH": path}


def git(path, *arguments, check=True):
    return run(path, "git", *arguments, check=check)


def dvc(path, *arguments, **options):
    return run(path, sys.executable, "-m", "dvc", *arguments, **options)


def ran(output: str) -> set[str]:
    """The stages that DVC found changed: it ran them or, where another test had, took them from its run cache."""
    return set(re.findall(r"^(?:Running stage|Stage) '(.*)'(?::$| is cached - skipping run)", output, re.MULTILINE))
