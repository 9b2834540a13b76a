"""The report's profile on an archive of each layout, with tiny networks: from the images to the results table."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_pipeline import ROOT, dvc, git, run

SMALL = {  # of the report's profile all but what would take hours or a download
    "grid": {"n_estimators": [10], "max_depth": [3]},
    "model": {"name": "test_convnext", "weights": "none"},
    "train": {"epochs": 1},
    "ladder": {
        "efficientnet": {"model": {"name": "test_efficientnet"}, "train": {"epochs": 1}},
        "convnext_restarts": {"train": {"epochs": 1}},
        "freeze": {"train": {"freeze": 1, "epochs": 2}},
    },
}
WHOLE = pytest.mark.skipif(
    "WBC_LAYOUTS" not in os.environ, reason="a whole study takes minutes; WBC_LAYOUTS=1 runs it on each layout"
)


def copied(path: Path, source: str, root: Path) -> Path:
    """A git and DVC repository of this code, set to the report's profile on the archive `root`."""
    for name in ("stages", "wbc"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, path)
    (path / "data").mkdir()
    (path / "data/raw").symlink_to(root)
    text = YAML()
    params = text.load(path / "params.yaml")
    params["profile"] = "report"
    params["data"]["source"] = source
    lay(params, SMALL)
    text.dump(params, path / "params.yaml")
    git(path, "init", "-q")
    git(path, "config", "user.email", "test@example.com")
    git(path, "config", "user.name", "test")
    dvc(path, "init", "-q")
    dvc(path, "config", "core.analytics", "false")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "study")
    return path


def lay(values: dict, over: dict) -> None:
    """Put the leaves of `over` in place of those of `values`."""
    for key, value in over.items():
        if isinstance(value, dict):
            lay(values[key], value)
        else:
            values[key] = value


def checked(path: Path, row: str) -> list[str]:
    """The ids of a row's submission, once the checker has passed it against the sample, if the source has one."""
    sample = path / "data/raw/sample_submission.csv"
    against = ["--sample", str(sample)] if sample.exists() else []
    file = f"data/predictions/{row}.csv"
    assert "complete and in order" in run(path, sys.executable, "-m", "wbc", "submission", file, *against)
    with (path / file).open(encoding="utf-8", newline="") as opened:
        return [row["ID"] for row in csv.DictReader(opened)]


@pytest.mark.slow
def test_a_kaggle_archive_gives_predictions_without_scores_and_submissions(archives, tmp_path):
    study = copied(tmp_path, "kaggle", archives("kaggle"))
    dvc(study, "repro", "predict@efficientnet", "gridsearch")
    for row, metrics in (("efficientnet", "predict/efficientnet"), ("gridsearch", "gridsearch")):
        measured = json.loads((study / f"metrics/{metrics}.json").read_text())
        assert "val_f1" in measured
        assert not any("test" in name for name in measured)
        assert checked(study, row) == ["00000502", "00000501", "00000500"]


@WHOLE
@pytest.mark.slow
@pytest.mark.parametrize("source", ["wbcbench", "kaggle", "folder"])
def test_the_whole_study_fills_its_table_whatever_the_layout(archives, tmp_path, source):
    study = copied(tmp_path, source, archives(source))
    dvc(study, "repro")
    table = (study / "plots/results.md").read_text(encoding="utf-8")
    print(table)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    measured = {row[0].strip("`"): row[4:] for row in cells}  # val F1, + TTA, test F1, + TTA, accuracy
    networks = set(measured) - {"classical_v1", "classical_v2", "gridsearch", "convnext_restarts_tta"}
    assert len(networks) == 7
    labelled = [source != "kaggle"] * 3
    for row, values in measured.items():
        expected = {
            "classical_v1": [True, False, False, False, False],
            "classical_v2": [True, False, False, False, False],
            "gridsearch": [True, False, labelled[0], False, labelled[0]],
            "convnext_restarts_tta": [False, True, False, labelled[0], False],
        }.get(row, [True, True, *labelled])
        assert [value != "–" for value in values] == expected, row
    for row in ("gridsearch", *networks):
        ids = checked(study, row)
        assert len(ids) == {"wbcbench": 11, "kaggle": 3, "folder": 8}[source]
    if source == "kaggle":
        assert ids == ["00000502", "00000501", "00000500"]
        assert "test_f1" not in (study / "metrics/results.json").read_text()
