"""docs/knobs.md against DVC: what each change runs again."""

import re
from fnmatch import fnmatch

import networkx as nx
import pytest
import yaml
from dvc.repo import Repo
from ruamel.yaml import YAML
from study import ROOT, set_knob

from wbc.config import overridden, read_yaml

TEXT = (ROOT / "docs/knobs.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| `(.+)` \| (.+) \|$", TEXT, re.M)
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def named(cell: str, rows: list[str], existing: set[str]) -> set[str]:
    """The stages that a cell of the table names: groups, single stages or patterns, perhaps `of` some rows."""
    everything = {stage for stage in existing if stage != "configure"}
    if cell == "none":
        return set()
    found = set()
    for part in cell.split("; "):
        stages, _, of = part.partition(" of ")
        if stages.startswith("every stage"):
            found |= everything - {stage for but in re.findall("`(.+?)`", stages) for stage in {but} & everything}
            continue
        for pattern in re.findall("`(.+?)`", stages):
            assert pattern.split("@")[0] in STAGES, f"no stage {pattern}"
            if of:
                first, last = (re.findall("`(.+?)`", of) * 2)[:2] if of != "every row" else (rows[0], rows[-1])
                found |= {f"{pattern}@{row}" for row in rows[rows.index(first) : rows.index(last) + 1]}
            else:
                group = "@" not in pattern and "@"
                found |= {s for s in existing if fnmatch(s, pattern) or (group and s.startswith(pattern + group))}
    return found


def would_run() -> tuple[set[str], set[str]]:
    """All stages, and those that `dvc repro --dry` would run with all that depends on them."""
    with Repo() as repo:
        graph = repo.index.graph
        stale = {stage.addressing for stage in repo.reproduce(dry=True)}
        of = {stage.addressing: stage for stage in graph}
        # after `configure` depends everything, but its files are written already
        reached = {s.addressing for name in stale - {"configure"} for s in nx.ancestors(graph, of[name])}
        return set(of), (stale | reached) - {"configure"}


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

    rows = [*read_yaml(ROOT / "params.yaml")["ladder"], "mine"]
    params = read_yaml("params.yaml")
    if change.split("=")[0] in overridden(params):
        change = f"profiles.{params['profile']}.{change}"
    set_knob(params, change)
    with open("params.yaml", "w") as file:
        YAML().dump(params, file)
    configure()
    existing, stale = would_run()
    expected = named(cell, rows, existing)
    assert stale == expected & existing
