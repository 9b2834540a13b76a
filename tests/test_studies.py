"""Studies: settings that resolve, results that say which code made them, and one run from images to results."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import cells
from study import ROOT, clone, git
from tools import study as studies
from wbc.config.files import ConfigError, dumped, read_yaml
from wbc.config.resolve import merge, resolve
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import write_text

NAMES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_of_each_study_resolve(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = studies.study(name)
    assert set(found) == {"about", "params"}
    resolve(merge(read_yaml("params.yaml"), found["params"]))


def test_a_study_names_the_code_that_changed_since_it_ran(tmp_path, monkeypatch):
    def lock(**code):
        deps = [{"path": path.replace("_", "/"), "md5": md5} for path, md5 in code.items()]
        return dumped({"schema": "2.0", "stages": {"train@a-0": {"deps": [*deps, {"path": "data/x", "md5": "9"}]}}})

    monkeypatch.chdir(tmp_path)
    write_text("studies/a.yaml", "about: of a\nparams: {}\n")
    write_text("studies/b.yaml", "about: of b\nparams: {}\n")
    write_text("dvc.lock", lock(wbc_train="1", wbc_core="2", stages_train="3"))
    write_text("studies/a/dvc.lock", lock(wbc_train="1", wbc_core="0", stages_train="3"))
    assert studies.state("a") == "a: of a; made by older code: since then changed wbc/core"
    write_text("studies/a/dvc.lock", lock(wbc_train="1", wbc_core="2", stages_train="3"))
    assert studies.state("a") == "a: of a; made by today's code"
    assert studies.state("b") == "b: of b; not run yet"
    with pytest.raises(ConfigError, match=r"^studies/c.yaml: no such file; there are: a, b$"):
        studies.study("c")


@pytest.mark.slow
def test_a_study_runs_in_a_clone_and_leaves_its_results_here(study, tmp_path, monkeypatch, capfd):
    here, images = clone(study, tmp_path / "here", cache=study), tmp_path / "images"
    for number, label in enumerate(CLASSES[:3]):
        cells([label] * 10, images / label, first=100 * number)
    (here / ".gitignore").write_text((here / ".gitignore").read_text() + "/studies/*/\n")
    params = {"data": {"source": "folder"}, "rows": ["tuned"], "robustness": {"rows": []}, "images": {"size": 48}}
    params |= {"model": {"size": 32}, "split": {"tail": 0.0006}}
    write_text(here / "studies/mine.yaml", dumped({"about": "three classes", "params": params}))
    monkeypatch.chdir(here)
    with pytest.raises(UserError, match=r"^commit first: .* the changes in .gitignore$"):
        studies.run("mine", images)
    git(here, "add", "-A")
    git(here, "commit", "-qm", "a study")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        studies.run("mine", Path("nowhere"))
    studies.run("mine", images)
    assert "networks: at most " in capfd.readouterr().out
    found = Path("studies/mine")
    assert {Path(name).name for name in studies.KEPT} | {"commit"} == {path.name for path in found.iterdir()}
    assert (found / "commit").read_text() == git(here, "rev-parse", "HEAD")
    assert read_yaml(found / "params.yaml")["images"]["size"] == 48
    assert {"tuned", "best", "v1-classical"} <= json.loads((found / "results.json").read_text()).keys()
    assert studies.state("mine").startswith("mine: three classes; made by")
    shutil.rmtree(found)
    studies.run("mine", images)  # everything is cached
    assert "epoch" not in capfd.readouterr().out
    assert (found / "results.md").exists()
