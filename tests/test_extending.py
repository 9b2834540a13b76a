"""What CONTRIBUTING.md says one adds of one's own, done to a copy of the repository: it works, and tests stay green."""

import re
import shutil
import sys

import pytest
from ruamel.yaml import YAML

from study import ROOT, git, name_the_author, run, without_additions, write_params

PROBE = """
import numpy as np
from tools.reference import markdown
from wbc.features.sets import v2
from wbc.segment import METHODS, method

image = np.full((40, 60, 3), 200, np.uint8)
mask = method("disc").segment(image)
assert mask.shape == (40, 60) and set(np.unique(mask)) == {0, 1} and "disc" in METHODS and not method("disc").NUCLEUS
mask[15:25, 25:35] = 2
row = dict(zip(v2.NAMES, v2.extract(image, mask), strict=True))
assert len(row) == 90 and "nucleus_area / cytoplasm_area" in markdown()
assert row["nucleus_cytoplasm_ratio"] == row["nucleus_area"] / row["cytoplasm_area"] > 0
"""
SET = """import numpy as np

from wbc.features.definitions import Feature

TABLE = (Feature("cell_share", "share of the image's pixels that are the cell's", "1", "mine"),)
NAMES = ("cell_share",)


def extract(image, mask):
    return np.array([(mask > 0).mean()])
"""
CONCERNED = ("config", "knobs", "features", "segment", "report", "bad_input", "pipeline", "readme", "reference", "fuzz")


@pytest.fixture
def extended(tmp_path):
    """The repository with the documents' row, feature and segmentation method, and with another feature set."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    entry, value, method = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (row,) = re.findall(r"`(mine: .*?)`", (ROOT / "docs/experiments.md").read_text(encoding="utf-8"))
    for name in git(ROOT, "ls-files").splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    features = tmp_path / "wbc/features/sets/v2.py"
    put_after(features, "TABLE = (\n", entry)
    put_after(features, "values |= hu(cell) | glcm(levels, cell) | lbp(levels, cell)\n", value)
    (tmp_path / "wbc/features/sets/v5.py").write_text(SET, encoding="utf-8")
    (tmp_path / "wbc/segment/methods/disc.py").write_text(method, encoding="utf-8")
    write_params(tmp_path, lambda params: add(params, row))
    generated = run(tmp_path, sys.executable, "-m", "tools.reference")
    (tmp_path / "docs/reference.md").write_text(generated, encoding="utf-8")
    return tmp_path


def add(params: dict, row: str) -> None:
    """The row and the feature set, to the study's own settings: its reader may have kept a row of the same name."""
    without_additions(params)
    params["ladder"] |= YAML(typ="safe").load(row)
    params["features"]["v5"] = {"masks": "disc"}


def put_after(path, line, addition):
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + addition), encoding="utf-8")


def test_the_feature_and_the_segmentation_work_as_they_stand_there(extended):
    run(extended, sys.executable, "-c", PROBE)


def test_they_are_configured(extended):
    run(extended, sys.executable, "-m", "stages", "configure")
    assert (extended / "settings/train/mine.yaml").exists()
    assert "- disc\n" in (extended / "settings/segment.yaml").read_text()
    stages = run(extended, sys.executable, "-c", STAGES)
    assert {"classical@v5-0", "external@v5-0", "train@mine-0"} <= set(stages.split())


STAGES = """
import yaml
from dvc.parsing import DataResolver
from dvc.repo import Repo
from pathlib import Path
repo = Repo(uninitialized=True)
definition = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
print(*DataResolver(repo, "", definition).resolve()["stages"])
"""


@pytest.mark.slow
def test_the_tests_stay_green(extended):
    """This file's too, where the additions are kept in params.yaml."""
    git(extended, "init", "-q")
    name_the_author(extended)
    git(extended, "add", "-A")
    git(extended, "commit", "-qm", "extended")
    suites = [f"tests/test_{name}.py" for name in CONCERNED]
    suites.append("tests/test_extending.py::test_they_are_configured")
    print(run(extended, sys.executable, "-m", "pytest", "-m", "not slow and not study", *suites))
