"""dvc.yaml against the code, and the stages end to end on a tiny study."""

import ast
import csv
import functools
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

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import yaml

from stages.__main__ import main as run_stage
from study import ROOT, ROWS, clone, dvc, environment, git, name_the_author, ran, run
from wbc.config.files import dumped, read_yaml
from wbc.core.classes import CLASSES
from wbc.core.tables import read_split
from wbc.network.model import load_model
from wbc.scoring.predictions import read_predictions

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES = {name: stage.get("do", stage) for name, stage in STAGES.items()}
EXEMPT = {Path("wbc/config"), Path("stages/__init__.py")}  # what they do to an output passes through settings/


@functools.cache
def imports(module: Path) -> frozenset[Path]:
    """The project's modules that a module imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for base in (Path(*name.split(".")) for name in names):
            found |= {path for path in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / path).exists()}
    return frozenset(found)


def used(stage: str) -> set[Path]:
    """The modules that a stage imports, directly or not, and itself; without those that hold a docstring alone."""
    seen, todo = set(), {Path(f"stages/{STAGES[stage]['cmd'].split()[3]}.py")}
    while todo:
        seen.add(module := todo.pop())
        todo |= imports(module) - seen
    if stage == "configure":  # it reads the names in their tables
        text = (ROOT / "wbc/config/schema.py").read_text(encoding="utf-8")
        found = re.findall(r'(?:key_of\("\w+", |file_in\()"(.+?)"\)', text)
        paths = (path for name in found for path in (ROOT / "wbc").glob(name if "." in name else f"{name}/*.py"))
        seen |= {path.relative_to(ROOT) for path in paths}
    return {module for module in seen if len(ast.parse((ROOT / module).read_text(encoding="utf-8")).body) > 1}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_rooms_it_imports_from(name):
    """A file that is chosen by its name, such as a method of segmentation, lies in the room of whoever chooses."""
    listed = {Path(dep) for dep in STAGES[name]["deps"] if dep.startswith(("wbc", "stages"))}
    modules = used(name)
    assert not {module for module in modules if not (EXEMPT | listed) & {module, *module.parents}}
    assert not {dep for dep in listed if not any(dep in (module, *module.parents) for module in modules)}


def test_rooms_import_one_another_in_one_direction():
    """But for two pairs: settings name sets and tables, and `dataset` reads sources, which list images as it does."""
    pairs, graph = {"config": "core", "sources": "dataset"}, nx.DiGraph()
    for module in (path.relative_to(ROOT) for path in (ROOT / "wbc").rglob("*.py")):
        rooms = [path.parts[1].removesuffix(".py") for path in (module, *imports(module)) if path.parts[0] == "wbc"]
        assert len(rooms) == 1 + len(imports(module)), f"{module} imports from stages"
        first, *others = (pairs.get(room, room) for room in rooms)
        graph.add_edges_from((first, other) for other in others if other not in (first, "__init__"))
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


def test_every_output_is_ignored_by_git_or_committed_on_purpose():
    for stage in STAGES.values():
        for out in itertools.chain(*(stage.get(kind, []) for kind in ("outs", "metrics", "plots"))):
            path, options = (out, {}) if isinstance(out, str) else next(iter(out.items()))
            path = re.sub(r"\$\{.*?\}", "x", path)
            ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0
            assert ignored == options.get("cache", True), path


def test_every_clone_has_the_same_bytes(tmp_path):
    """DVC would run the stages of other ones again. A lone carriage return may be part of an image's name."""
    origin, names = tmp_path / "origin", [*git(ROOT, "ls-files").splitlines(), "settings/odd.csv"]
    for name in names[:-1]:
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, origin / name)
    (origin / names[-1]).write_bytes(b'id\n"a\r\nb"\n')
    git(origin, "init", "-q")
    name_the_author(origin)
    git(origin, "add", "-A", "-f")
    git(origin, "commit", "-qm", "all")
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", "origin", "clone")
    assert [name for name in names if (origin / name).read_bytes() != (tmp_path / "clone" / name).read_bytes()] == []


def test_the_lock_file_holds_no_stage_that_is_gone():
    """DVC keeps them, and reads and writes the whole file after every stage."""
    known = dvc(ROOT, "stage", "list", "--all", "--name-only").split()
    assert read_yaml(ROOT / "dvc.lock")["stages"].keys() <= {*known}


# --- the pipeline itself, on a copy


def test_the_whole_study_runs_and_fills_its_table(study):
    rows, classical = list(ROWS), {"v1-classical", "v2-classical", "v3-classical", "v2-gridsearch"}
    headlines = json.loads((study / "metrics/results.json").read_text())
    results = pd.read_csv(study / "plots/results.csv", index_col="row")
    results = results.select_dtypes("number").filter(regex="^(?!published)")
    assert set(headlines) == {*classical, *rows, "best"} == set(results.index) - {"convnext_restarts-tta"}
    points = {"test_f1", "test_f1_tta", "test_accuracy", "test_f1_common"}  # the tiny test part has rare classes
    measured = points | {f"{name}_{end}" for name in points for end in ("low", "high")} | {"val_f1", "val_f1_tta"}
    for row, line in results.iterrows():
        expected = {key for key in measured if row not in classical or "tta" not in key}
        expected |= {"val_f1_last"} if row in rows else set()
        found = line.dropna().to_dict()
        assert found.keys() == ({key for key in measured if "tta" in key} if row.endswith("-tta") else expected), row
        assert all(0 <= value <= 1 for value in found.values())
        assert headlines.get(row, {}).items() <= found.items()
    epochs = np.loadtxt(study / "runs/final-0/live/plots/metrics/val/f1.tsv", skiprows=1)[-5:, 1]
    assert results.loc["final", "val_f1_last"] == pytest.approx(epochs.mean(), abs=1e-6)
    known = {row: load_model(study / f"runs/{row}-0/train/model.safetensors").reference for row in rows}
    assert [row for row in rows if known[row]] == ["tuned"]  # the others have seen nothing but drawn cells


def test_a_stage_that_dvc_runs_leaves_what_the_study_has(study):
    """The fixture ran all of them in one process."""
    assert ran(dvc(study, "repro", "--force", "--single-item", "embed@final-0")) == {"embed@final-0"}
    assert git(study, "status", "--porcelain") == ""


def test_a_clone_without_cache_has_nothing_to_run_unless_code_changes(study, tmp_path):
    path = clone(study, tmp_path / "clone")
    check = ("make", "-f", ROOT / "Makefile", "-o", "install", "check-lock")
    assert "Running stage" not in run(path, *check)
    with (path / "wbc/projection.py").open("a") as file:
        file.write("# changed\n")
    assert "embed@convnext_restarts-0" in run(path, *check, check=False)


def test_outer_folds_test_every_image_once_and_train_on_none_that_they_test(packed, tmp_path, monkeypatch):
    """For classical models and networks alike."""
    monkeypatch.chdir(shutil.copytree(packed, tmp_path / "project"))
    Path("settings/split.yaml").write_text(dumped(read_yaml("settings/split.yaml") | {"outer": 2}))
    tested = []
    for repeat in "01":
        run_stage("split", repeat)
        fold, validation = read_split("folds", int(repeat)), read_split("validation", int(repeat))
        assert ((fold < 0) == np.isnan(validation)).all()
        tested.append(fold < 0)
    assert np.sum(tested, axis=0).tolist() == [1] * 44


def test_every_model_leaves_a_submission_of_its_augmented_predictions(study):
    for folder in ("v2-0/gridsearch", *(f"{row}-0/predict" for row in ROWS), "best-0"):
        found = read_predictions(study / f"runs/{folder}/predictions.npz", "test")
        predicted = (found.probabilities if found.tta is None else found.tta).argmax(1)
        with (study / f"runs/{folder}/submission.csv").open() as file:
            assert [*csv.reader(file)][1:] == [[id, CLASSES[c]] for id, c in zip(found.ids, predicted, strict=True)]


@pytest.mark.slow
def test_forced_again_every_byte_is_the_same(study):
    """One of each stage with all its inputs, on all cores: results must not depend on the clock or on the processes."""
    before = (study / "dvc.lock").read_bytes()
    dvc(study, "repro", "--force", "embed@final-0", "blend@0", "gridsearch@0", cores=os.cpu_count())
    assert (study / "dvc.lock").read_bytes() == before
    assert git(study, "status", "--porcelain") == ""


@pytest.mark.slow
def test_killed_at_any_moment_a_training_ends_in_the_same_bytes(packed, tmp_path):
    """SIGKILL in random epochs and at random moments of them.

    WBC_KILLS sets how often; a failure prints the WBC_KILL_SEED that repeats it.
    """
    undisturbed, killed = (shutil.copytree(packed, tmp_path / name) for name in ("undisturbed", "killed"))
    for path in (undisturbed, killed):
        settings = read_yaml(path / "settings/train/alone.yaml")
        settings["train"] |= {"freeze": 20, "epochs": 60, "patience": 60}
        (path / "settings/train/alone.yaml").write_text(dumped(settings))
    train(undisturbed)
    seed = int(os.environ.get("WBC_KILL_SEED", random.randrange(2**32)))
    rng = random.Random(seed)
    epochs = sorted(rng.sample(range(1, 50), int(os.environ.get("WBC_KILLS", "3"))))
    kills = [(epoch, rng.uniform(0, 0.3)) for epoch in epochs]
    print(f"WBC_KILL_SEED={seed}", *(f"{seconds:.3f} s after epoch {epoch}" for epoch, seconds in kills), sep=", ")
    outputs = [train(killed, *kill) for kill in kills] + [train(killed)]
    print("\n".join(outputs))
    assert all("resuming after epoch" in output for output in outputs[1:])
    files = [file.relative_to(killed) for file in killed.glob("runs/**/*.*") if file.is_file()]
    assert len(files) > 9
    assert all((killed / file).read_bytes() == (undisturbed / file).read_bytes() for file in files)


def train(path, kill_after=None, seconds=0.0) -> str:
    """What the stage printed until its end, or until it was killed so many seconds after that epoch was over."""
    command, lines = [sys.executable, "-m", "stages", "train", "alone", "0"], []
    env = environment() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=path, env=env, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            epoch = re.match(r"epoch +(\d+)/", line)
            if kill_after and epoch and int(epoch[1]) >= kill_after:  # the call before may have got further
                time.sleep(seconds)
                process.kill()
    assert kill_after or process.returncode == 0
    return "".join(lines)
