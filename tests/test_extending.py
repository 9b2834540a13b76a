"""What CONTRIBUTING.md says one adds for a feature and for a segmentation method, done to a copy of the code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROBE = """
import numpy as np
from wbc.features.__main__ import markdown
from wbc.features.sets import v2
from wbc.segment import METHODS, method

image = np.full((40, 60, 3), 200, np.uint8)
mask = method("disc").segment(image)
assert mask.shape == (40, 60) and set(np.unique(mask)) == {0, 1} and "disc" in METHODS and not method("disc").NUCLEUS
mask[15:25, 25:35] = 2
row = dict(zip(v2.NAMES, v2.extract(image, mask), strict=True))
assert len(row) == 90 and "nucleus_cytoplasm_ratio" in markdown()
assert row["nucleus_cytoplasm_ratio"] == row["nucleus_area"] / row["cytoplasm_area"] > 0
"""


@pytest.fixture
def blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_feature_and_the_segmentation_work_as_they_stand_there(blocks, tmp_path):
    entry, value, method = blocks
    assert all(block.count("\n") <= 12 for block in blocks)
    shutil.copytree(ROOT / "wbc", tmp_path / "wbc", ignore=shutil.ignore_patterns("__pycache__"))
    features = tmp_path / "wbc/features/sets/v2.py"
    put_after(features, "TABLE = (\n", entry)
    put_after(features, "values |= hu(cell) | glcm(levels, cell) | lbp(levels, cell)\n", value)
    (tmp_path / "wbc/segment/methods/disc.py").write_text(method, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def put_after(path, line, addition):
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + addition), encoding="utf-8")
