"""DVC's commands as a person uses them on this repository: experiments, comparisons, merges, a remote."""

import csv
import io
import json
import re

import pytest

from conftest import cells
from study import ROOT, clone, dvc, git, ran, run
from wbc.config.files import read_yaml

pytestmark = pytest.mark.slow


def results(path, branch=None):
    """metrics/results.json of the working tree or of a branch."""
    file = "metrics/results.json"
    return json.loads(git(path, "show", f"{branch}:{file}") if branch else (path / file).read_text())


def test_nothing_changed_runs_nothing(study):
    assert not ran(dvc(study, "repro"))
    assert git(study, "status", "--porcelain") == ""
    assert "up to date" in dvc(study, "status")


def test_a_rejected_setting_is_one_line_runs_nothing_and_loses_nothing(study):
    before = {
        p: p.read_bytes() for p in study.rglob("*") if p.is_file() and ".git" not in p.parts and ".dvc" not in p.parts
    }
    output = dvc(study, "exp", "run", "-S", "+loss.gama=1", check=False)
    assert (
        "error: loss.gama = 1: unknown key; allowed: name, gamma, tau, smoothing, class_weights; did you mean 'gamma'?"
        in output
    )
    assert "Traceback" not in output
    assert ran(output) == {"configure"}
    git(study, "checkout", "params.yaml")
    assert {p: p.read_bytes() for p in before if p.exists()} == before
    assert not ran(dvc(study, "repro"))


def test_one_knob_reruns_its_rows_and_metrics_diff_shows_them(changed_study):
    study = changed_study
    output = dvc(study, "exp", "run", "-S", "loss.gamma=1")
    rows = {"convnext_restarts", "freeze"}  # `final` has a gamma of its own
    assert ran(output) == {"configure", "report"} | stages_of(*rows)
    files = set(git(study, "diff", "--name-only", "settings").split())
    assert files == {"settings/report.yaml"} | {f"settings/train/{row}.yaml" for row in rows}
    assert "loss.gamma" in dvc(study, "params", "diff")
    assert "efficientnet" not in dvc(study, "metrics", "diff")
    table = dvc(study, "exp", "show", "--csv", "--drop", ".*", "--keep", "typ|loss.gamma")
    assert {"baseline,2.0", "branch_base,1"} <= set(table.split())


def stages_of(*rows, stages=("train", "predict", "embed")):
    return {f"{stage}@{row}-0" for stage in stages for row in rows}


def test_a_row_of_ones_own_needs_no_code(changed_study):
    study = changed_study
    output = dvc(study, "exp", "run", "-S", "+ladder.mine={from: final, loss: {gamma: 3.0}}")
    assert ran(output) == {"configure", "report"} | stages_of("mine")
    mine, final = (read_yaml(study / f"settings/train/{row}.yaml") for row in ("mine", "final"))
    assert (mine["loss"].pop("gamma"), final["loss"].pop("gamma")) == (3.0, 1.0)
    assert mine == final
    assert "`mine`" in (study / "plots/results.md").read_text()


def test_rows_that_are_left_out_run_nothing_and_leave_nothing(study, tmp_path):
    path = clone(study, tmp_path / "clone", cache=study)
    rows = set(results(path))
    out = rows - {"v1-classical", "v2-classical", "v3-classical", "v2-gridsearch", "best", "best-blend"}
    left = stages_of(*out) | {"robustness@final-0"}
    assert ran(dvc(path, "exp", "run", "-S", "rows=[best]")) == {"configure", "report"} | left
    folders = {path / "runs" / f"{name.split('@')[1]}/{name.split('@')[0]}" for name in left}
    assert all([file.name for file in folder.iterdir()] == ["left_out.csv"] for folder in folders)
    assert set(results(path)) == rows - out
    for file in [*path.glob("plots/*.csv"), path / "plots/tables.md", path / "plots/results.md"]:
        assert out.isdisjoint(cell.strip(" `") for cell in re.split(r"[,|\n]", file.read_text())), file
    page = (path / "plots/report.html").read_text()
    assert not [row for row in out if re.search(rf'(>|value="|"row":"){row}[<", ]', page)]
    for command in (("metrics", "diff"), ("metrics", "show"), ("plots", "diff", "HEAD"), ("exp", "show")):
        assert "rror" not in dvc(path, *command)
    assert ran(dvc(path, "exp", "run", "-S", "loss.gamma=1")) == {"configure"}  # it acts in rows left out alone

    changes = ("rows=[]", "loss.gamma=2.0", "+ladder.mine={from: best}")
    output = dvc(path, "exp", "run", *(word for change in changes for word in ("-S", change)))
    assert set(re.findall("^Running stage '(.*)'", output, re.M)) == {"configure", "report"} | stages_of("mine")
    assert set(results(path)) == rows | {"mine"}
    assert results(path)["mine"] == results(path)["best"]


# --- experiments beside the working tree, and branches


@pytest.fixture(scope="module")
def experiments(study, tmp_path_factory):
    """A clone with two experiments on two rows of the ladder, one run at once and one from the queue."""
    path = clone(study, tmp_path_factory.mktemp("experiments") / "clone", cache=study)
    message = dvc(path, "exp", "run", "--temp", "--name", "first", "-S", "+ladder.efficientnet.tta={passes: 4}")
    again = stages_of("efficientnet", "best", stages=("predict", "embed"))  # `best` stands on it
    assert ran(message) == {"configure", "report", "blend@best-0"} | again
    dvc(path, "exp", "run", "--queue", "--name", "last", "-S", "+ladder.final.tta={passes: 4}")
    dvc(path, "exp", "run", "--run-all")
    assert git(path, "status", "--porcelain") == ""
    return path


def test_experiments_beside_the_working_tree_land_in_the_table(experiments):
    rows = list(csv.DictReader(io.StringIO(dvc(experiments, "exp", "show", "--csv"))))
    rows = {row["Experiment"] or row["rev"]: row for row in rows}
    assert float(rows["main"]["final.test_f1_tta"]) == results(experiments)["final"]["test_f1_tta"]
    for name, other, changed in (("first", "final", "efficientnet"), ("last", "efficientnet", "final")):
        passes = f"ladder.{changed}.tta.passes"
        assert (rows["main"][passes], rows[name][passes]) == ("", "4")
        assert rows[name][f"{changed}.test_f1_tta"] != rows["main"][f"{changed}.test_f1_tta"]
        assert rows[name][f"{other}.test_f1_tta"] == rows["main"][f"{other}.test_f1_tta"]


def test_a_range_is_an_experiment_for_each_value(study, tmp_path):
    path = clone(study, tmp_path / "clone", cache=study)
    print(dvc(path, "exp", "run", "--queue", "-S", "loss.gamma=range(1,3)"))
    print(dvc(path, "exp", "run", "--run-all"))
    rows = list(csv.DictReader(io.StringIO(dvc(path, "exp", "show", "--csv", "--only-changed"))))
    values = [(row["typ"], row["loss.gamma"]) for row in rows]
    assert values[:2] == [("baseline", "2.0")] * 2  # the working tree and its commit
    assert sorted(value for _, value in values[2:]) == ["1", "2"]
    assert len(rows[0]) < 60  # `dvc exp show` has hundreds of columns


def test_an_experiment_beside_the_working_tree_finds_images_that_neither_git_nor_dvc_brings(study, tmp_path):
    path = clone(study, tmp_path / "clone", cache=study)
    for label in ("SNE", "LY"):
        cells([label] * 8, path / "data/raw" / label, first=ord(label[0]))
    output = dvc(path, "exp", "run", "--temp", "--name", "own", "-S", "data.source=folder", "ingest")
    assert "12 training and 4 test images, 0 rejected" in output
    assert "is empty" not in output
    dvc(path, "exp", "branch", "own", "own")
    assert "data/raw" not in git(path, "ls-tree", "-r", "--name-only", "own")
    assert len(list((path / "data/raw").glob("*/*"))) == 16


def test_rows_that_train_side_by_side_leave_the_same_bytes(study, tmp_path):
    path = clone(study, tmp_path / "clone")
    output = run(path, "make", "-f", ROOT / "Makefile", "-o", "install", "repro", "JOBS=2")
    assert output.count("Running stage 'train@") == 5
    found_done = re.findall("Stage 'train@.*' didn't change, skipping", output)  # by the `dvc repro` after them
    assert len(found_done) == 5
    assert git(path, "status", "--porcelain") == ""
    assert not ran(dvc(path, "repro"))


@pytest.fixture(scope="module")
def branches(experiments):
    """The experiments as branches."""
    for name in ("first", "last"):
        dvc(experiments, "exp", "branch", name, f"{name}_passes")
    return experiments


def test_branches_compare_in_a_clone_without_cache_and_remote(branches, tmp_path):
    path = clone(branches, tmp_path / "clone")
    git(path, "branch", "other", "origin/last_passes")
    changed = json.loads(dvc(path, "metrics", "diff", "--json", "main", "other"))["metrics/results.json"]
    before, after = (results(path, branch)["final"]["test_f1_tta"] for branch in ("main", "other"))
    assert changed["final.test_f1_tta"] == {"old": before, "new": after, "diff": pytest.approx(after - before)}
    assert {name.split(".")[0] for name in changed} == {"final"}
    assert "final.test_f1_tta" in dvc(path, "metrics", "diff", "main", "other")
    assert "index.html" in dvc(path, "plots", "diff", "main", "other")
    page = (path / "dvc_plots/index.html").read_text()
    assert '"rev": "main"' in page
    assert '"rev": "other"' in page
    assert git(path, "status", "--porcelain") == ""


def test_branches_that_changed_other_rows_merge(branches, study, tmp_path):
    path = clone(branches, tmp_path / "clone", cache=study)
    first, last = "origin/first_passes", "origin/last_passes"
    git(path, "merge", "-q", first)
    dvc(path, "checkout", "-q")
    print(git(path, "merge", last, check=False))
    conflicts = git(path, "diff", "--name-only", "--diff-filter=U").split()
    assert "dvc.lock" in conflicts
    assert "params.yaml" not in conflicts
    output = dvc(path, "repro")
    assert "Running stage 'predict" not in output  # the other branch's predictions come from the run cache
    changed = stages_of("efficientnet", "best", "final", stages=("predict", "embed"))
    assert ran(output) <= {"configure", "report", "blend@best-0", "robustness@final-0"} | changed
    git(path, "commit", "-qam", "both")
    both = results(path)
    assert both["efficientnet"] == results(path, first)["efficientnet"] != results(path, last)["efficientnet"]
    assert both["final"] == results(path, last)["final"] != results(path, first)["final"]
    assert not ran(dvc(path, "repro"))
