"""What CONTRIBUTING.md says one adds of one's own works in a copy of the repository."""

import re
import shutil
import sys

from ruamel.yaml import YAML

from study import ROOT, git, run, without_additions, write_params

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
STAGES = """
import yaml
from dvc.parsing import DataResolver
from dvc.repo import Repo
from pathlib import Path
repo = Repo(uninitialized=True)
definition = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
print(*DataResolver(repo, "", definition).resolve()["stages"])
"""


def test_the_documents_row_feature_feature_set_and_segmentation_work(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    entry, value, method = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (row,) = re.findall(r"`(mine: .*?)`", (ROOT / "docs/experiments.md").read_text(encoding="utf-8"))
    for name in git(ROOT, "ls-files").splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    features = tmp_path / "wbc/features/sets"
    put_after(features / "v2.py", "TABLE = (\n", entry)
    put_after(features / "v2.py", "values |= hu(cell) | glcm(levels, cell) | lbp(levels, cell)\n", value)
    shutil.copy(features / "v1.py", features / "v5.py")
    (tmp_path / "wbc/segment/methods/disc.py").write_text(method, encoding="utf-8")

    def add(params):
        without_additions(params)
        params["ladder"] |= YAML(typ="safe").load(row)
        params["features"]["v5"] = {"masks": "disc"}

    write_params(tmp_path, add)
    run(tmp_path, sys.executable, "-c", PROBE)
    run(tmp_path, sys.executable, "-m", "stages", "configure")
    assert (tmp_path / "settings/train/mine.yaml").exists()
    assert "- disc\n" in (tmp_path / "settings/segment.yaml").read_text()
    stages = run(tmp_path, sys.executable, "-c", STAGES)
    assert {"classical@v5-0", "external@v5-0", "train@mine-0"} <= set(stages.split())


def put_after(path, line, addition):
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1
    path.write_text(text.replace(line, line + addition), encoding="utf-8")
