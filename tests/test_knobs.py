"""docs/knobs.md against DVC: what each change runs again."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import networkx as nx
import pytest
import yaml
from dvc.repo import Repo

from study import ROOT, set_knob
from wbc.config import overridden, read_yaml

TEXT = (ROOT / "docs/knobs.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| `(.+)` \| (.+) \|$", TEXT, re.M)
ROWS = [*read_yaml(ROOT / "params.yaml")["ladder"], "mine"]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


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
            first, last = (re.findall("`(.+?)`", rows) * 2)[:2] if rows != "every row" else (ROWS[0], ROWS[-1])
            of = ROWS[ROWS.index(first) : ROWS.index(last) + 1]
            found |= existing & {f"{name}@{row}" for name in names for row in of}
            if not found:
                break  # what follows is reached through these rows
        else:
            found |= {
                stage for stage in existing for name in names if fnmatch(stage, name) or fnmatch(stage, f"{name}@*")
            }
    assert found or cell == "none" or rows
    return found


def would_run() -> tuple[set[str], set[str]]:
    """All stages, and those that differ from dvc.lock with all that depends on them."""
    with Repo() as repo, repo.lock:
        graph = repo.index.graph
        stale = [stage for stage in graph if stage.changed() and stage.addressing != "configure"]
        reached = {after.addressing for stage in stale for after in [stage, *nx.ancestors(graph, stage)]}
        return {stage.addressing for stage in graph}, reached


def test_every_group_of_knobs_has_a_line(params):
    assert len(TABLE) == TEXT.count("\n| `")  # none is passed over
    assert {re.split("[.=]", change.lstrip("+"))[0] for change, _ in TABLE} == set(params) - {"profiles"}


@pytest.fixture
def settings(study, monkeypatch):
    """params.yaml and configs/ of the study, put back afterwards."""
    monkeypatch.chdir(study)
    files = {path: path.read_bytes() for path in [study / "params.yaml", *(study / "configs").glob("*")]}
    yield
    for path in (study / "configs").glob("*"):
        path.unlink()
    for path, content in files.items():
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(("change", "cell"), TABLE, ids=[change for change, _ in TABLE])
def test_a_change_reaches_exactly_the_stages_of_its_line(settings, change, cell):
    from stages.configure import main as configure

    params = read_yaml("params.yaml")
    if change.split("=")[0] in overridden(params):
        change = f"profiles.{params['profile']}.{change}"
    set_knob(params, change)
    Path("params.yaml").write_text(json.dumps(params))  # which is YAML, and fast
    configure()
    existing, reached = would_run()
    assert reached == named(cell, existing)
