"""Changes of params.yaml: what DVC runs, against what `tools.reference` says, and how the file looks afterwards."""

import copy
import difflib
import os
import shutil
import sys
from pathlib import Path

import networkx as nx
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

from stages import configure
from study import ROOT, git, set_knob
from tools.reference import reruns
from wbc.config.files import read_yaml

CHANGES = (  # one of each kind: a setting of all stages, of some rows, of one; something added, something taken away
    "seed=1",
    "repeats=[0,1]",
    "rows=[tuned]",
    "~external.laboratory",
    "+external.elsewhere={source: folder, path: data}",
    "images.size=96",
    "+features.v4.masks=polar",
    "loss.gamma=1.5",
    "tta.passes=4",
    "robustness.rows=[]",
    "+ladder.mine={from: final, loss: {gamma: 3.0}}",
)


def would_run(change: str) -> set[str]:
    """The stages that `dvc exp run -S change` runs after `configure`, with all that depend on them."""
    apply_overrides("params.yaml", [change])
    configure.main()  # in this process, which has imported what it needs
    with Repo() as repo, repo.lock:
        graph = repo.index.graph
        stale = {stage.addressing: stage for stage in graph if stage.changed()}
        assert stale.pop("configure")
        return {after.addressing for stage in stale.values() for after in [stage, *nx.ancestors(graph, stage)]}


@pytest.fixture
def workplace(study, monkeypatch):
    """In the study, whose params.yaml, settings/ and dvc.lock are put back afterwards."""
    monkeypatch.chdir(study)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # the stages' python
    (study / "data/raw").mkdir(exist_ok=True)
    yield
    git(study, "checkout", "-q", ".")
    git(study, "clean", "-qfd")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reruns_what_the_reference_says(workplace, change):
    before = read_yaml("params.yaml")
    after = copy.deepcopy(before)
    set_knob(after, change)
    assert would_run(change) == reruns(before, after)[1]


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


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ("images.size=96", 1),
        ("loss.gamma=1", 1),
        ("+ladder.one_more={loss: {gamma: 3.0}}", 3),
        *((f"{knob}=[]", 1) for knob in ("repeats", "augment.scale", "robustness.rows")),
    ],
)
def test_dvc_changes_few_lines_of_params_yaml_and_it_can_be_read(tmp_path, change, lines):
    """With a comment between the key and a list, DVC's writer loses a line break (ruamel.yaml)."""
    path = shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(path, [change])
    before, after = ((file / "params.yaml").read_text("utf-8").splitlines() for file in (ROOT, tmp_path))
    assert len([line for line in difflib.ndiff(before, after) if line[0] == "+"]) == lines
    expected = read_yaml(ROOT / "params.yaml")
    set_knob(expected, change)
    assert read_yaml(path) == expected
