"""dvc.yaml against the code, and the stages end to end on a tiny study."""

import ast
import csv
import functools
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from study import ROOT, dvc, git, ran, run
from wbc.classes import CLASSES
from wbc.config import read_yaml
from wbc.data.tables import read_manifest
from wbc.network.model import load_model
from wbc.report.study import predictions

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
CONFIG = (ROOT / "wbc/config.py").read_text(encoding="utf-8")
# What these do is validate and report: their effect on an output passes through configs/, which is tracked.
EXEMPT = {"wbc/__init__.py", "wbc/config.py", "wbc/errors.py", "wbc/compute.py", "stages/__init__.py"}


def imported(path: Path) -> set[Path]:
    """The project's modules that a module imports, directly or not, and itself."""
    seen, todo = set(), {path}
    while todo:
        module = todo.pop()
        seen.add(module)
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                base = Path(*name.split("."))
                todo |= {p for p in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / p).exists()} - seen
    return seen


def expanded(stage: dict) -> list[dict]:
    """A stage of dvc.yaml, or each that it becomes, with the items of its `foreach` or `matrix` in their places."""
    params = read_yaml(ROOT / "params.yaml")
    lists = {f".{name}": items for name, items in stage.get("matrix", {}).items()} or {"": stage.get("foreach", [""])}
    for name, items in lists.items():
        if isinstance(items, str):
            lists[name] = functools.reduce(dict.get, items.strip("${}").split("."), params)
    body = {key: value for key, value in stage.get("do", stage).items() if key != "matrix"}
    found = []
    for chosen in itertools.product(*lists.values()):
        text = yaml.safe_dump(body, width=1000)
        for name, item in zip(lists, chosen, strict=True):
            text = text.replace(f"${{item{name}}}", str(item)).replace("${key}", str(item))
        found.append(yaml.safe_load(text))
    return found


def listed(stage: dict) -> set[Path]:
    """The code that it depends on."""
    return {Path(dep) for dep in stage["deps"] if dep.startswith(("wbc", "stages"))}


@functools.cache
def used(name: str, chosen: frozenset[Path]) -> set[Path]:
    """The code that a stage imports, with the method or set chosen for it."""
    modules = set().union(*map(imported, [Path(f"stages/{name}.py"), *chosen]))
    modules = {m for m in modules if m.as_posix() not in EXEMPT or name == "configure"}
    modules -= {Path("stages/__init__.py"), Path("wbc/compute.py")}
    if name == "configure":  # it reads the names in their tables
        found = re.findall(r'(?:key_of\("\w+", |file_in\()"(.+?)"\)', CONFIG)
        paths = (path for name in found for path in (ROOT / "wbc").glob(name if "." in name else f"{name}/*.py"))
        modules |= {path.relative_to(ROOT) for path in paths}
    return {m for m in modules if len(ast.parse((ROOT / m).read_text(encoding="utf-8")).body) > 1}  # beyond a docstring


@pytest.mark.parametrize(("name", "stage"), [(name, one) for name in STAGES for one in expanded(STAGES[name])])
def test_a_stage_depends_on_exactly_the_code_it_imports(name, stage):
    """A method of segmentation and a feature set are imported by their name, which the stage alone depends on."""

    def modules(stage):
        return used(name, frozenset(path for path in listed(stage) if path.parent.name in ("methods", "sets")))

    uncovered = {m for m in modules(stage) if not ({m, *m.parents} & listed(stage))}
    assert not uncovered
    by_any = set().union(*map(modules, expanded(STAGES[name])))
    unused = {dep for dep in listed(stage) if not any(dep in (m, *m.parents) for m in by_any)}
    assert not unused


def test_every_output_folder_is_ignored_by_git_or_committed_on_purpose():
    for stage in STAGES.values():
        for out in expanded(stage)[0].get("outs", []):
            path, options = (out, {}) if isinstance(out, str) else next(iter(out.items()))
            ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0
            assert ignored == options.get("cache", True), path


def test_every_stage_says_what_it_does():
    assert all(stage.get("do", stage).get("desc") for stage in STAGES.values())


def test_the_lock_file_holds_no_stage_that_is_gone():
    """DVC keeps them, and reads and writes the whole file after every stage."""
    known = dvc(ROOT, "stage", "list", "--all", "--name-only").split()
    assert read_yaml(ROOT / "dvc.lock")["stages"].keys() <= {*known}


# --- the pipeline itself, on a copy


def test_the_whole_study_runs_and_fills_its_table(study):
    results = json.loads((study / "metrics/results.json").read_text())
    rows = list(yaml.safe_load((study / "configs/report.yaml").read_text())["models"])
    classical = {"classical_v1", "classical_v2", "classical_v3", "gridsearch"}
    assert set(results) == {*classical, *rows, "best_blend"}
    points = {"test_f1", "test_f1_tta", "test_accuracy", "test_f1_common"}  # the tiny test part has rare classes
    bounds = {f"{name}_{end}" for name in points for end in ("low", "high")}
    assert set(results["efficientnet"]) == {"val_f1", "val_f1_last", "val_f1_tta"} | points | bounds
    assert set(results["best_blend"]) == {"val_f1", "val_f1_tta"} | points | bounds
    for row in classical:
        assert set(results[row]) == {"val_f1"} | {key for key in points | bounds if "tta" not in key}
    assert all(0 <= value <= 1 for row in results.values() for value in row.values())
    epochs = np.loadtxt(study / "plots/train/freeze-0/plots/metrics/val/f1.tsv", skiprows=1)[-5:, 1]
    assert results["freeze"]["val_f1_last"] == pytest.approx(epochs.mean(), abs=1e-6)
    known = {row: load_model(study / "models" / f"{row}-0.safetensors").reference for row in rows}
    assert [row for row in rows if known[row]] == ["efficientnet"]  # the others have seen nothing but drawn cells
    stale = dvc(study, "repro", "--allow-missing", "--dry")
    assert not ran(stale)


@pytest.mark.slow
def test_a_new_method_and_a_changed_feature_run_alone(changed_study):
    study = changed_study
    methods, features = study / "wbc/segment/methods", study / "wbc/features/sets/v2.py"
    shutil.copy(methods / "hsv.py", methods / "another.py")
    features.write_text(features.read_text() + "# changed\n")
    pipeline = study / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("foreach: [hsv,", "foreach: [another, hsv,"))
    planned = ran(dvc(study, "repro", "--dry", "segment", "features", "folds"))
    # the first, since a setting may name the method; a set's stage depends on v2, which v3 builds on
    assert planned == {"configure", "segment@another", "features@v1", "features@v2", "features@v3"}


def test_outer_folds_leave_no_image_untested_and_train_on_none_that_they_test(study, tmp_path, monkeypatch):
    """Two folds of a network's row and a classical model, as their stages run."""
    from stages import classical, folds, predict, train, validation

    for folder in ("configs", "data"):
        shutil.copytree(study / folder, tmp_path / folder)
    settings = yaml.safe_load((tmp_path / "configs/data.yaml").read_text())
    settings["split"]["outer"] = 2
    (tmp_path / "configs/data.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    for repeat in "01":
        for stage, *names in (
            (folds,),
            (validation,),
            (classical, "v1"),
            (train, "freeze"),
            (predict, "freeze"),
        ):
            stage.main(*names, repeat)
    manifest = read_manifest()
    found = predictions(["v1-knn", "freeze"], [0, 1], 2, manifest)
    assert len(found.target) == (manifest["label"] != "").sum()
    assert found.predicted.keys() == {"v1-knn", "freeze", "freeze_tta"}
    assert {of.shape for of in found.predicted.values()} == {(1, len(found.target))}
    for repeat in "01":
        neighbours, network = (np.load(f"data/predictions/{name}-{repeat}.npz") for name in ("v1", "freeze"))
        assert sorted(neighbours["test_ids"]) == sorted(network["test_ids"])
        assert set(neighbours["test_ids"]).isdisjoint(neighbours["out_of_fold_ids"])
        assert set(neighbours["out_of_fold_ids"]) > set(network["val_ids"])


@pytest.mark.slow
def test_every_row_leaves_a_submission_of_its_augmented_predictions(study):
    rows = list(yaml.safe_load((study / "configs/report.yaml").read_text())["models"])
    for row in ("gridsearch", *rows, "best_blend"):
        checked = run(study, sys.executable, "-m", "wbc", "submission", f"data/predictions/{row}-0.csv")
        assert " predictions, complete" in checked
    with np.load(study / f"data/predictions/{rows[0]}-0.npz") as stored:
        expected = [CLASSES[target] for target in stored["test_probabilities_tta"].argmax(1)]
    with (study / f"data/predictions/{rows[0]}-0.csv").open() as file:
        assert [row["labels"] for row in csv.DictReader(file)] == expected


@pytest.mark.slow
def test_forced_again_every_byte_is_the_same(study):
    """One of each stage, with all it rests on, on all cores where the study took one: no draw may depend on the clock,
    the machine's load or the number of processes."""
    before = hashlib.sha256((study / "dvc.lock").read_bytes()).hexdigest()
    stages = ("predict@final-0", "embed@final-0", "blend@best-0", "gridsearch@0")
    dvc(study, "repro", "--force", *stages, cores=os.cpu_count())
    assert hashlib.sha256((study / "dvc.lock").read_bytes()).hexdigest() == before
    assert git(study, "status", "--porcelain") == ""


@pytest.mark.slow
def test_killed_at_any_moment_a_training_ends_in_the_same_bytes(study, tmp_path):
    """SIGKILL in random epochs and at random moments of them.

    WBC_KILLS sets how often; a failure prints the WBC_KILL_SEED that repeats it.
    """
    undisturbed, killed = (copy_for_training(study, tmp_path / name) for name in ("undisturbed", "killed"))
    train_freeze(undisturbed)
    seed = int(os.environ.get("WBC_KILL_SEED", random.randrange(2**32)))
    rng = random.Random(seed)
    epochs = sorted(rng.sample(range(1, EPOCHS - 10), int(os.environ.get("WBC_KILLS", "3"))))
    kills = [(epoch, rng.uniform(0, 0.3)) for epoch in epochs]
    print(f"WBC_KILL_SEED={seed}", *(f"{seconds:.3f} s after epoch {epoch}" for epoch, seconds in kills), sep=", ")
    outputs = [train_freeze(killed, *kill) for kill in kills] + [train_freeze(killed)]
    print("\n".join(outputs))
    assert all("resuming after epoch" in output for output in outputs[1:])
    assert written(undisturbed) == written(killed)
    assert not list(killed.glob(".scratch/train/*"))


EPOCHS = 60


def copy_for_training(study, path):
    """What one training needs, long enough to be killed in it."""
    for folder in ("stages", "wbc", "configs", "data", ".git", ".dvc"):
        shutil.copytree(study / folder, path / folder, ignore=shutil.ignore_patterns("cache", "tmp"))
    settings = yaml.safe_load((path / "configs/freeze.yaml").read_text())
    settings["train"] |= {"freeze": 20, "epochs": EPOCHS, "patience": EPOCHS}
    (path / "configs/freeze.yaml").write_text(yaml.safe_dump(settings))
    return path


def train_freeze(path, kill_after=None, seconds=0.0) -> str:
    """What the stage printed until its end, or until it was killed so many seconds after that epoch was over."""
    command = [sys.executable, "-m", "stages.train", "freeze", "0"]
    lines = []
    with subprocess.Popen(command, cwd=path, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            epoch = re.match(r"epoch +(\d+)/", line)
            if kill_after and epoch and int(epoch[1]) >= kill_after:  # the call before may have got further
                time.sleep(seconds)
                process.kill()
    assert kill_after or process.returncode == 0
    return "".join(lines)


def written(path) -> dict[str, bytes]:
    """The content of what a training writes, by name."""
    files = [p for folder in ("models", "metrics/train", "plots/train") for p in (path / folder).rglob("*.*")]
    return {str(p.relative_to(path)): p.read_bytes() for p in files if p.is_file()}
