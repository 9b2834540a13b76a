"""DVC's commands as a person uses them on this repository: experiments, comparisons, merges."""

import csv
import io
import json
import re

import pytest

from conftest import cells
from study import ROOT, clone, dvc, git, ran, run
from wbc.config.files import read_yaml

pytestmark = pytest.mark.slow


@pytest.fixture
def path(study, tmp_path):
    return clone(study, tmp_path / "clone", cache=study)


def results(path, branch=None):
    """metrics/results.json of the working tree or of a branch."""
    file = "metrics/results.json"
    return json.loads(git(path, "show", f"{branch}:{file}") if branch else (path / file).read_text())


def stages_of(*rows, stages=("train", "predict", "embed")):
    return {f"{stage}@{row}-0" for stage in stages for row in rows}


def test_a_rejected_setting_is_one_line_runs_nothing_and_loses_nothing(path):
    before = {file: file.read_bytes() for file in path.glob("[a-z]*/**/*.*") if file.is_file()}
    output = dvc(path, "exp", "run", "-S", "+loss.gama=1", check=False)
    assert "error: loss.gama = 1: unknown key; allowed: name, gamma, class_weights; did you" in output
    assert "Traceback" not in output
    assert ran(output) == {"configure"}
    git(path, "checkout", "params.yaml")
    assert {file: file.read_bytes() for file in before} == before
    assert not ran(dvc(path, "repro"))
    assert git(path, "status", "--porcelain") == ""


def test_one_knob_reruns_its_rows_and_metrics_diff_shows_them(path):
    output = dvc(path, "exp", "run", "-S", "loss.gamma=1")
    assert ran(output) == {"configure", "report"} | stages_of("convnext_restarts")  # `final` has a gamma of its own
    files = set(git(path, "diff", "--name-only", "settings").split())
    assert files == {"settings/report.yaml", "settings/train/convnext_restarts.yaml"}
    assert "loss.gamma" in dvc(path, "params", "diff")
    assert "tuned" not in dvc(path, "metrics", "diff")
    shown = dvc(path, "exp", "show", "--csv", "--drop", ".*", "--keep", "typ|loss.gamma")
    assert {"baseline,2.0", "branch_base,1"} <= set(shown.split())


def test_a_row_of_ones_own_needs_no_code(path):
    output = dvc(path, "exp", "run", "-S", "+ladder.mine={from: final, loss: {gamma: 3.0}}")
    assert ran(output) == {"configure", "report"} | stages_of("mine")
    mine, final = (read_yaml(path / f"settings/train/{row}.yaml") for row in ("mine", "final"))
    assert (mine["loss"].pop("gamma"), final["loss"].pop("gamma")) == (3.0, 1.0)
    assert mine == final
    assert "`mine`" in (path / "plots/results.md").read_text()


def test_rows_that_are_left_out_run_nothing_and_leave_nothing(path):
    rows, out = set(results(path)), {"convnext_restarts", "final"}
    left = stages_of(*out) | {"robustness@final-0"}
    assert ran(dvc(path, "exp", "run", "-S", "rows=[tuned]")) == {"configure", "report"} | left
    folders = {path / "runs" / f"{name.split('@')[1]}/{name.split('@')[0]}" for name in left}
    assert all([file.name for file in folder.iterdir()] == ["left_out.csv"] for folder in folders)
    assert set(results(path)) == rows - out
    for file in [*path.glob("plots/*.csv"), path / "plots/tables.md", path / "plots/results.md"]:
        assert out.isdisjoint(cell.strip(" `") for cell in re.split(r"[,|\n]", file.read_text())), file
    page = (path / "plots/report.html").read_text()
    assert not [row for row in out if re.search(rf'(>|value="|"row":"){row}[<", ]', page)]
    for command in (("metrics", "diff"), ("plots", "diff", "HEAD"), ("exp", "show")):
        assert "rror" not in dvc(path, *command)
    changes = ("rows=[]", "+ladder.mine={from: tuned}")
    output = dvc(path, "exp", "run", *(word for change in changes for word in ("-S", change)))
    assert set(re.findall("^Running stage '(.*)'", output, re.M)) == {"configure", "report"} | stages_of("mine")
    assert set(results(path)) == rows | {"mine"}
    assert results(path)["mine"] == results(path)["tuned"]


def test_an_experiment_beside_the_working_tree_finds_images_that_neither_git_nor_dvc_brings(path):
    for label in ("SNE", "LY"):
        cells([label] * 8, path / "data/raw" / label, first=ord(label[0]))
    output = dvc(path, "exp", "run", "--temp", "--name", "own", "-S", "data.source=folder", "ingest")
    assert "12 training and 4 test images" in output
    assert "is empty" not in output
    dvc(path, "exp", "branch", "own", "own")
    assert "data/raw" not in git(path, "ls-tree", "-r", "--name-only", "own")
    assert len(list((path / "data/raw").glob("*/*"))) == 16


def test_rows_that_train_side_by_side_leave_the_same_bytes(study, tmp_path):
    path = clone(study, tmp_path / "clone")
    output = run(path, "make", "-f", ROOT / "Makefile", "-o", "install", "repro", "JOBS=2")
    assert output.count("Running stage 'train@") == 3
    assert len(re.findall("Stage 'train@.*' didn't change, skipping", output)) == 3  # by the `dvc repro` after them
    assert git(path, "status", "--porcelain") == ""


@pytest.fixture(scope="module")
def experiments(study, tmp_path_factory):
    """A clone with two experiments on two rows, one run at once and one from the queue, and a branch of each."""
    path = clone(study, tmp_path_factory.mktemp("experiments") / "clone", cache=study)
    output = dvc(path, "exp", "run", "--temp", "--name", "first", "-S", "+ladder.tuned.seed=1")
    assert ran(output) == {"configure", "report", "blend@0"} | stages_of("tuned")
    dvc(path, "exp", "run", "--queue", "--name", "last", "-S", "+ladder.final.seed=1")
    dvc(path, "exp", "run", "--run-all")
    assert git(path, "status", "--porcelain") == ""
    for name in ("first", "last"):
        dvc(path, "exp", "branch", name, f"{name}_branch")
    return path


def test_experiments_beside_the_working_tree_land_in_the_table(experiments):
    rows = list(csv.DictReader(io.StringIO(dvc(experiments, "exp", "show", "--csv"))))
    assert len(rows[0]) < 400
    rows = {row["Experiment"] or row["rev"]: row for row in rows}
    for name, other, changed in (("first", "final", "tuned"), ("last", "tuned", "final")):
        assert rows[name][f"{changed}.val_f1"] != rows["main"][f"{changed}.val_f1"]
        assert rows[name][f"{other}.val_f1"] == rows["main"][f"{other}.val_f1"]
    assert (rows["main"]["ladder.final.seed"], rows["last"]["ladder.final.seed"]) == ("", "1")


def test_branches_compare_in_a_clone_without_cache_and_remote(experiments, tmp_path):
    path = clone(experiments, tmp_path / "clone")
    git(path, "branch", "other", "origin/last_branch")
    changed = json.loads(dvc(path, "metrics", "diff", "--json", "main", "other").splitlines()[0])[
        "metrics/results.json"
    ]
    before, after = (results(path, branch)["final"]["val_f1"] for branch in ("main", "other"))
    assert changed["final.val_f1"] == {"old": before, "new": after, "diff": pytest.approx(after - before)}
    assert {name.split(".")[0] for name in changed} == {"final"}
    assert "index.html" in dvc(path, "plots", "diff", "main", "other")
    page = (path / "dvc_plots/index.html").read_text()
    assert '"rev": "main"' in page
    assert '"rev": "other"' in page
    assert git(path, "status", "--porcelain") == ""


def test_branches_that_changed_other_rows_merge(experiments, study, tmp_path):
    path = clone(experiments, tmp_path / "clone", cache=study)
    first, last = "origin/first_branch", "origin/last_branch"
    git(path, "merge", "-q", first)
    dvc(path, "checkout", "-q")
    print(git(path, "merge", last, check=False))
    conflicts = git(path, "diff", "--name-only", "--diff-filter=U").split()
    assert "dvc.lock" in conflicts
    assert "params.yaml" not in conflicts
    output = dvc(path, "repro")
    assert "Running stage 'train" not in output  # the other branch's training comes from the run cache
    assert ran(output) <= {"configure", "report", "blend@0", "robustness@final-0"} | stages_of("tuned", "final")
    both = results(path)
    assert both["tuned"] == results(path, first)["tuned"] != results(path, last)["tuned"]
    assert both["final"] == results(path, last)["final"] != results(path, first)["final"]
    git(path, "commit", "-qam", "both")
    assert not ran(dvc(path, "repro"))
