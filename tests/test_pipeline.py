"""dvc.yaml against the code, and the stages end to end on a tiny study."""

import ast
import csv
import hashlib
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

from wbc.classes import CLASSES

ROOT = Path(__file__).parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
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


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_code_it_imports(name):
    stage = STAGES[name].get("do", STAGES[name])
    listed = {Path(dep) for dep in stage["deps"] if dep.startswith(("wbc", "stages"))}
    modules = {m for m in imported(Path(f"stages/{name}.py")) if m.as_posix() not in EXEMPT or name == "configure"}
    modules -= {Path("stages/__init__.py"), Path("wbc/compute.py")}
    modules = {
        m for m in modules if len(ast.parse((ROOT / m).read_text(encoding="utf-8")).body) > 1
    }  # more than a docstring
    uncovered = {m for m in modules if not ({m, *m.parents} & listed)}
    assert not uncovered
    unused = {dep for dep in listed if not any(dep in (m, *m.parents) for m in modules)}
    assert not unused


def test_every_output_folder_is_ignored_by_git_or_committed_on_purpose():
    for stage in STAGES.values():
        for out in stage.get("do", stage).get("outs", []):
            path, options = (out, {}) if isinstance(out, str) else next(iter(out.items()))
            example = path.replace("${key}", "x").replace("${item}", "x")
            ignored = subprocess.run(["git", "check-ignore", "-q", example], cwd=ROOT).returncode == 0
            assert ignored == options.get("cache", True), path


def test_every_stage_says_what_it_does():
    assert all(stage.get("do", stage).get("desc") for stage in STAGES.values())


# --- the pipeline itself, on a copy

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
LEFT_OUT = ("convnext_cosine", "mixup", "cutmix")  # rows that take time and run no other code


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A git and DVC repository of this code with a study of seconds, reproduced once."""
    path = tmp_path_factory.mktemp("study")
    for name in ("stages", "wbc", "dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, path / name)
    from ruamel.yaml import YAML

    text = YAML()
    params = text.load(path / "params.yaml")
    params["profiles"]["tiny"] = merge(params["profiles"]["sample"], TINY)
    params["profile"] = "tiny"
    for row in LEFT_OUT:
        del params["ladder"][row]
    text.dump(params, path / "params.yaml")
    git(path, "init", "-q")
    git(path, "config", "user.email", "test@example.com")
    git(path, "config", "user.name", "test")
    dvc(path, "init", "-q")
    dvc(path, "config", "core.analytics", "false")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "study")
    dvc(path, "repro")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "results")
    return path


def merge(base, delta):
    merged = dict(base)
    for key, value in delta.items():
        merged[key] = merge(base[key], value) if isinstance(base.get(key), dict) else value
    return merged


def run(path, *command, check=True):
    # the stages say `python`: that of these tests
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=path, env=env, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def git(path, *arguments):
    return run(path, "git", *arguments)


def dvc(path, *arguments, check=True):
    return run(path, sys.executable, "-m", "dvc", *arguments, check=check)


def ran(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


@pytest.mark.slow
def test_the_whole_study_runs_and_fills_its_table(study):
    results = json.loads((study / "metrics/results.json").read_text())
    rows = yaml.safe_load((study / "configs/report.yaml").read_text())["rows"]
    assert set(results) == {"classical_v1", "classical_v2", "gridsearch", *rows, "convnext_restarts_tta"}
    assert set(results["efficientnet"]) == {"val_f1", "val_f1_tta", "test_f1", "test_f1_tta", "test_accuracy"}
    assert all(0 <= value <= 1 for row in results.values() for value in row.values())
    stale = dvc(study, "repro", "--allow-missing", "--dry")
    assert not ran(stale)


@pytest.mark.slow
def test_every_row_leaves_a_submission_of_its_augmented_predictions(study):
    rows = yaml.safe_load((study / "configs/report.yaml").read_text())["rows"]
    for row in ("gridsearch", *rows):
        checked = run(study, sys.executable, "-m", "wbc", "submission", f"data/predictions/{row}.csv")
        assert "complete and in order" in checked
    with np.load(study / f"data/predictions/{rows[0]}.npz") as stored:
        expected = [CLASSES[target] for target in stored["test_probabilities_tta"].argmax(1)]
    with (study / f"data/predictions/{rows[0]}.csv").open() as file:
        assert [row["labels"] for row in csv.DictReader(file)] == expected


@pytest.mark.slow
def test_forced_again_every_byte_is_the_same(study):
    """One of each stage, with all it rests on: what draws from the clock or from the machine's load shows here."""
    before = hashlib.sha256((study / "dvc.lock").read_bytes()).hexdigest()
    networks = ("predict@efficientnet", "predict@final", "embed@final")
    dvc(study, "repro", "--force", *networks, "classical@v1-knn", "classical@v2-random_forest", "gridsearch")
    assert hashlib.sha256((study / "dvc.lock").read_bytes()).hexdigest() == before
    assert git(study, "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_rejected_setting_is_one_line_runs_nothing_and_loses_nothing(study):
    before = {
        p: p.read_bytes() for p in study.rglob("*") if p.is_file() and ".git" not in p.parts and ".dvc" not in p.parts
    }
    output = dvc(study, "exp", "run", "-S", "+loss.gama=1", check=False)
    assert "error: loss.gama = 1: unknown key; allowed: name, gamma, class_weights; did you mean 'gamma'?" in output
    assert "Traceback" not in output
    assert ran(output) == {"configure"}
    git(study, "checkout", "params.yaml")
    assert {p: p.read_bytes() for p in before if p.exists()} == before
    assert not ran(dvc(study, "repro"))


@pytest.mark.slow
def test_one_knob_reruns_its_rows_and_metrics_diff_shows_them(study):
    output = dvc(study, "exp", "run", "-S", "loss.gamma=1")
    rows = {"convnext_restarts", "freeze"}  # `final` has a gamma of its own
    expected = {f"{stage}@{row}" for stage in ("train", "predict", "embed") for row in rows}
    assert ran(output) - {"configure", "report"} <= expected
    assert {f"train@{row}" for row in rows} <= ran(output)
    assert "loss.gamma" in dvc(study, "params", "diff", "--targets", "configs/convnext_restarts.yaml")
    assert "efficientnet" not in dvc(study, "metrics", "diff")
    restore(study)


@pytest.mark.slow
def test_a_row_of_ones_own_needs_no_code(study):
    output = dvc(study, "exp", "run", "-S", "+ladder.mine={mix: {mixup_alpha: 1.0}}")
    assert ran(output) == {"configure", "train@mine", "predict@mine", "embed@mine", "report"}
    mine, final = (yaml.safe_load((study / f"configs/{row}.yaml").read_text()) for row in ("mine", "final"))
    assert mine["mix"].pop("mixup_alpha") == 1.0
    assert final["mix"].pop("mixup_alpha") != 1.0
    assert mine == final
    assert "`mine`" in (study / "plots/results.md").read_text()
    restore(study)


def restore(study):
    """Back to the study as it was committed."""
    git(study, "checkout", "-q", ".")
    git(study, "clean", "-qfd")
    dvc(study, "checkout", "-q")
    assert not ran(dvc(study, "repro"))


@pytest.mark.slow
def test_killed_at_any_moment_a_training_ends_in_the_same_bytes(study, tmp_path):
    """SIGKILL in random epochs and at random moments of them; WBC_KILLS sets how often."""
    undisturbed, killed = (copy_for_training(study, tmp_path / name) for name in ("undisturbed", "killed"))
    train_freeze(undisturbed)
    epochs = sorted(random.sample(range(1, EPOCHS), int(os.environ.get("WBC_KILLS", "3"))))
    outputs = [train_freeze(killed, epoch) for epoch in [*epochs, None]]
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


def train_freeze(path, kill_after=None) -> str:
    """What the stage printed until its end, or until it was killed some time after that epoch was over."""
    command = [sys.executable, "-m", "stages.train", "freeze"]
    lines = []
    with subprocess.Popen(command, cwd=path, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            if kill_after and re.match(rf"epoch +{kill_after}/", line):
                time.sleep(random.uniform(0, 0.3))
                process.kill()
    assert kill_after or process.returncode == 0
    return "".join(lines)


def written(path) -> dict[str, bytes]:
    """The content of what a training writes, by name."""
    files = [p for folder in ("models", "metrics/train", "plots/train") for p in (path / folder).rglob("*.*")]
    return {str(p.relative_to(path)): p.read_bytes() for p in files if p.is_file()}
