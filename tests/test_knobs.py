"""docs/knobs.md against DVC: what each change runs again."""

import difflib
import os
import re
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import networkx as nx
import pytest
import yaml
from dvc.exceptions import ReproductionError
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

from stages import configure
from study import ROOT, git, set_knob, study_params
from wbc.config.files import read_yaml
from wbc.config.resolve import resolve
from wbc.config.schema import RowKnobs

TEXT = (ROOT / "docs/knobs.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| `(.+)` \| (.+) \|$", TEXT, re.M)
ROWS = [*study_params()["ladder"], "mine"]
OF_ROWS = {*RowKnobs.model_fields, "ladder"} - {"seed"}  # groups that a row may change
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
CHAIN = ("train", "predict", "embed")  # a row's stages, each after those before it


def named(cell: str, existing: set[str]) -> set[str]:
    """The stages that a cell of the table names, of those that exist: the study leaves out some rows of the ladder."""
    found = set()
    for part in cell.split("; "):
        stages, _, rows = part.partition(" of ")
        names = re.findall("`(.+?)`", stages)
        assert all(name.split("@")[0] in STAGES for name in names), part
        if stages.startswith("every stage"):
            found |= existing - {"configure", *names}
        elif rows:
            for span in rows.split(", "):
                first, last = (re.findall("`(.+?)`", span) * 2)[:2] if span != "every row" else (ROWS[0], ROWS[-1])
                of = ROWS[ROWS.index(first) : ROWS.index(last) + 1]
                found |= existing & {f"{name}@{row}-0" for name in names for row in of}
            if not found:
                break  # what follows is reached through these rows
        else:
            found |= {each for each in existing for name in names if fnmatch(each, name) or fnmatch(each, f"{name}@*")}
    return found


def group(change: str) -> str:
    return re.split("[.=]", change.lstrip("+~"))[0]


def would_run(change: str) -> tuple[set[str], set[str]]:
    """All stages, and those that `dvc exp run -S change` runs after `configure`, with all that depends on them."""
    apply_overrides("params.yaml", [change])
    configure.main()  # in this process, which has imported what it needs
    with Repo() as repo, repo.lock:
        graph = repo.index.graph
        stale = {stage.addressing: stage for stage in graph if stage.changed()}
        assert stale.pop("configure")
        reached = {after.addressing for stage in stale.values() for after in [stage, *nx.ancestors(graph, stage)]}
        return {stage.addressing for stage in graph}, reached


def test_every_group_of_knobs_has_a_line(params):
    assert len(TABLE) == TEXT.count("\n| `")  # none is passed over
    assert {group(change) for change, _ in TABLE} == set(params)


@pytest.mark.parametrize(("change", "cell"), [line for line in TABLE if group(line[0]) in {*OF_ROWS, "rows"}])
def test_a_change_reaches_exactly_the_rows_of_its_line(params, change, cell):
    """On the whole ladder, of which the study of the other tests leaves some rows out."""
    before = resolve(params)
    set_knob(params, change)
    after = resolve(params)
    reached = {
        f"{later}@{row}-0"
        for row in params["ladder"]
        for place, stage in enumerate(CHAIN)
        for later in CHAIN[place:]
        if before.get(f"{stage}/{row}") != after[f"{stage}/{row}"]
    }
    reached |= {"robustness@final-0"} if "train@final-0" in reached else set()
    reached |= {"blend@best-0"} if "predict@best-0" in reached else set()
    reached |= {"report"} if reached else set()
    every = {f"{stage}@{row}-0" for stage in CHAIN for row in params["ladder"]}
    assert reached == named(cell, {*every, "robustness@final-0", "blend@best-0", "report"})


@pytest.fixture
def workplace(study, monkeypatch):
    """In the study, whose params.yaml, settings/ and dvc.lock are put back afterwards."""
    monkeypatch.chdir(study)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # the stages' python
    (study / "data/raw").mkdir(exist_ok=True)
    yield
    git(study, "checkout", "-q", ".")
    git(study, "clean", "-qfd")


def asked() -> list[tuple[str, str]]:
    """The lines that DVC is asked about: of the groups of a row's settings the first, since the rows are known."""
    groups = [group(change) for change, _ in TABLE]
    return [line for i, line in enumerate(TABLE) if groups[i] not in OF_ROWS or groups[i] not in groups[:i]]


@pytest.mark.parametrize(("change", "cell"), asked(), ids=[change for change, _ in asked()])
def test_a_change_reaches_exactly_the_stages_of_its_line(workplace, change, cell):
    existing, reached = would_run(change)
    assert reached == named(cell, existing)


def test_another_file_of_weights_under_the_same_path_is_another_setting(workplace):
    weights = Path("data/weights/mine.pth")
    try:
        weights.write_bytes(b"1")
        would_run("+ladder.mine={model: {weights: data/weights/mine.pth}}")
        before = read_yaml("settings/train/mine.yaml")
        weights.write_bytes(b"2")
        with Repo() as repo:
            repo.reproduce(["configure"])
        assert read_yaml("settings/train/mine.yaml")["model"]["sha256"] != before["model"]["sha256"]
    finally:
        weights.unlink()


def test_a_mistyped_group_is_refused(workplace, capfd):
    apply_overrides("params.yaml", ["+losss.gamma=1"])
    with Repo() as repo, pytest.raises(ReproductionError):
        repo.reproduce(["configure"])
    assert "error: losss = {'gamma': 1}: unknown key; " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "lines"), [("images.size=96", 1), ("loss.gamma=1", 1), ("+ladder.one_more={loss: {gamma: 3.0}}", 3)]
)
def test_a_change_is_one_line_of_params_yaml(tmp_path, change, lines):
    path = shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(path, [change])
    before, after = ((file / "params.yaml").read_text("utf-8").splitlines() for file in (ROOT, tmp_path))
    differ = [line for line in difflib.ndiff(before, after) if line[0] == "+"]
    assert len(differ) == lines, differ
    assert len(after) == len(before) + (lines if change.startswith("+") else 0)


@pytest.mark.parametrize("knob", ["repeats", "augment.scale", "augment.erase_scale", "blend.rows", "robustness.rows"])
def test_an_emptied_list_leaves_a_file_that_can_be_read(tmp_path, knob):
    """With a comment between the key and a list, DVC's writer loses a line break (ruamel.yaml)."""
    path = shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(path, [f"{knob}=[]"])
    after = read_yaml(path)
    for part in knob.split("."):
        after = after[part]
    assert after == []
