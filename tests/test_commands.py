"""DVC's commands as a person uses them on this repository: experiments, comparisons, merges, a remote."""

import csv
import io
import json

import pytest
import yaml
from study import clone, dvc, git, ran, restore

pytestmark = pytest.mark.slow


def results(path, branch=None):
    """metrics/results.json of the working tree or of a branch."""
    text = (
        git(path, "show", f"{branch}:metrics/results.json") if branch else (path / "metrics/results.json").read_text()
    )
    return json.loads(text)


def test_nothing_changed_runs_nothing(study):
    assert not ran(dvc(study, "repro"))
    assert git(study, "status", "--porcelain") == ""
    assert "up to date" in dvc(study, "status")


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


def test_one_knob_reruns_its_rows_and_metrics_diff_shows_them(study):
    output = dvc(study, "exp", "run", "-S", "loss.gamma=1")
    rows = {"convnext_restarts", "freeze"}  # `final` has a gamma of its own
    expected = {f"{stage}@{row}" for stage in ("train", "predict", "embed") for row in rows}
    assert ran(output) - {"configure", "report"} <= expected
    assert {f"train@{row}" for row in rows} <= ran(output)
    assert "loss.gamma" in dvc(study, "params", "diff", "--targets", "configs/convnext_restarts.yaml")
    assert "efficientnet" not in dvc(study, "metrics", "diff")
    restore(study)


def test_a_row_of_ones_own_needs_no_code(study):
    output = dvc(study, "exp", "run", "-S", "+ladder.mine={mix: {mixup_alpha: 1.0}}")
    assert ran(output) == {"configure", "train@mine", "predict@mine", "embed@mine", "report"}
    mine, final = (yaml.safe_load((study / f"configs/{row}.yaml").read_text()) for row in ("mine", "final"))
    assert mine["mix"].pop("mixup_alpha") == 1.0
    assert final["mix"].pop("mixup_alpha") != 1.0
    assert mine == final
    assert "`mine`" in (study / "plots/results.md").read_text()
    restore(study)


# --- experiments: each changes the test-time augmentation of the last row, which no training depends on


def passes(number: int) -> str:
    return f"+ladder.final.tta={{passes: {number}}}"


@pytest.fixture(scope="module")
def experiments(study, tmp_path_factory):
    """A clone with one experiment run in place, one beside it and two from the queue, and what the first three said."""
    path = clone(study, tmp_path_factory.mktemp("experiments") / "clone", cache=study)
    said = {"aside": dvc(path, "exp", "run", "--temp", "-n", "aside", "-S", passes(2))}
    assert git(path, "status", "--porcelain") == ""
    for name, number in (("queued3", 3), ("queued4", 4)):
        dvc(path, "exp", "run", "--queue", "-n", name, "-S", passes(number))
    said["queue"] = dvc(path, "exp", "run", "--run-all")
    assert git(path, "status", "--porcelain") == ""
    said["here"] = dvc(path, "exp", "run", "-n", "here", "-S", passes(5))
    return path, said


def shown(path, *options):
    """`dvc exp show` by the name of the experiment; `main` is what they started from."""
    rows = list(csv.DictReader(io.StringIO(dvc(path, "exp", "show", "--csv", *options))))
    return {row["Experiment"] or row["rev"]: row for row in rows}


def test_experiments_land_in_the_table_wherever_they_ran(experiments, study):
    path, said = experiments
    assert ran(said["here"]) == ran(said["aside"]) == {"configure", "predict@final", "report"}
    table = shown(path)
    assert {"main", "here", "aside", "queued3", "queued4"} <= set(table)
    for name, number in (("aside", 2), ("queued3", 3), ("queued4", 4), ("here", 5)):
        assert table[name]["configs/final.yaml:tta.passes"] == str(number)
        assert table[name]["final.test_f1"] == table["main"]["final.test_f1"]
    assert table["workspace"]["final.test_f1_tta"] == table["here"]["final.test_f1_tta"]
    assert float(table["here"]["final.test_f1_tta"]) == results(path)["final"]["test_f1_tta"]
    assert float(table["main"]["final.test_f1_tta"]) == results(study)["final"]["test_f1_tta"]
    assert len({table[name]["final.test_f1_tta"] for name in table}) > 1


SHORT = (
    "--drop",
    ".*",
    "--keep",
    r"Experiment$|rev$|.*(efficientnet|final)\.(val_f1|test_f1_tta)$|params.yaml:loss.gamma$",
)


def test_the_table_of_experiments_has_a_short_form(experiments):
    path, _ = experiments
    table = shown(path, *SHORT)
    print(dvc(path, "exp", "show", *SHORT))
    assert list(table["main"]) == []


# --- comparing and merging branches


@pytest.fixture(scope="module")
def branches(study, tmp_path_factory):
    """A clone with the branches `first` and `last`, each with other augmentation passes in that row of the ladder."""
    path = clone(study, tmp_path_factory.mktemp("branches") / "clone", cache=study)
    for branch, row in (("first", "efficientnet"), ("last", "final")):
        git(path, "switch", "-q", "-c", branch, "main")
        dvc(path, "exp", "run", "-S", f"+ladder.{row}.tta={{passes: 6}}")
        git(path, "commit", "-qam", f"more passes for {row}")
        git(path, "switch", "-q", "main")
        dvc(path, "checkout", "-q")
    return path


def test_branches_compare_in_a_clone_without_cache_and_remote(branches, tmp_path):
    path = clone(branches, tmp_path / "clone")
    git(path, "branch", "last", "origin/last")
    git(path, "branch", "-f", "main", "origin/main")
    diff = json.loads(dvc(path, "metrics", "diff", "--json", "main", "last"))
    before, after = (results(path, branch)["final"]["test_f1_tta"] for branch in ("main", "last"))
    said = diff["metrics/results.json"]["final.test_f1_tta"]
    assert (said["old"], said["new"]) == (before, after)
    assert "efficientnet" not in str(diff)
    plain = dvc(path, "metrics", "diff", "main", "last")
    assert "final.test_f1_tta" in plain
    dvc(path, "plots", "diff", "main", "last")
    page = (path / "dvc_plots/index.html").read_text()
    assert '"rev": "main"' in page
    assert git(path, "status", "--porcelain") == ""


def test_branches_that_changed_other_rows_merge(branches, tmp_path):
    path = clone(branches, tmp_path / "clone", cache=branches)
    git(path, "switch", "-q", "-c", "merged", "origin/first")
    dvc(path, "checkout", "-q")
    said = git(path, "merge", "origin/last", check=False)
    print(said)
    output = dvc(path, "repro")
    assert ran(output) <= {"configure", "report"}  # the other branch's predictions come from the run cache
    git(path, "commit", "-qam", "both")
    both, first, last = (results(path, branch) for branch in (None, "origin/first", "origin/last"))
    assert both["efficientnet"] == first["efficientnet"] != last["efficientnet"]
    assert both["final"] == last["final"] != first["final"]
    assert not ran(dvc(path, "repro"))


# --- a remote


def test_what_was_pushed_is_pulled_and_nothing_runs(study, tmp_path):
    here = clone(study, tmp_path / "here", cache=study)
    dvc(here, "remote", "add", "-d", "storage", tmp_path / "storage")
    git(here, "commit", "-qam", "remote")
    dvc(here, "push")
    there = clone(here, tmp_path / "there")
    dvc(there, "pull")
    assert not ran(dvc(there, "repro"))
    assert "up to date" in dvc(there, "status")
    assert git(there, "status", "--porcelain") == ""
    for path in ("models/final.safetensors", "data/predictions/final.csv"):
        assert (there / path).read_bytes() == (study / path).read_bytes()
