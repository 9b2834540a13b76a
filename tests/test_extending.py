"""What the README says one adds for a feature and for a segmentation method, done to a copy of the code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROBE = """
import numpy as np
from wbc.features import SETS, V2, markdown
from wbc.segment import CELL_ONLY, METHODS

image = np.full((40, 60, 3), 200, np.uint8)
mask = METHODS["disc"](image)
assert mask.shape == (40, 60) and set(np.unique(mask)) == {0, 1} and "disc" in CELL_ONLY
mask[15:25, 25:35] = 2
row = dict(zip(V2, SETS["v2"].extract(image, mask), strict=True))
assert len(row) == 90 and "nucleus_cytoplasm_ratio" in markdown()
assert row["nucleus_cytoplasm_ratio"] == row["nucleus_area"] / row["cytoplasm_area"] > 0
"""


@pytest.fixture
def blocks():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Beating the table")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_readmes_feature_and_segmentation_work_as_they_stand_there(blocks, tmp_path):
    entry, value, method = blocks
    assert all(block.count("\n") < 10 for block in blocks)
    shutil.copytree(ROOT / "wbc", tmp_path / "wbc", ignore=shutil.ignore_patterns("__pycache__"))
    definitions, measures, methods = (
        tmp_path / "wbc" / name for name in ("features/definitions.py", "features/measures.py", "segment/methods.py")
    )
    put_after(definitions, "V2_TABLE = (\n", entry)
    put_after(measures, "values |= hu(cell) | glcm(grey, cell) | lbp(grey, cell)\n", value)
    methods.write_text(methods.read_text(encoding="utf-8") + method, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def put_after(path, line, addition):
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + addition), encoding="utf-8")
