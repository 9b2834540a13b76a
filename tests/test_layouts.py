"""The report's profile on an archive of each layout, with tiny networks: from the images to the results table."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest

from study import dvc, merge, run, start
from wbc.report.results import MEASURED

SMALL = {  # of the report's profile all but what would take hours or a download
    "grid": {"n_estimators": [10], "max_depth": [3]},
    "model": {"name": "test_convnext", "weights": "none"},
    "train": {"epochs": 1},
    "ladder": {
        "efficientnet": {"model": {"name": "test_efficientnet", "weights": "none"}, "train": {"epochs": 1}},
        "convnext_restarts": {"train": {"epochs": 1}},
        "freeze": {"train": {"freeze": 1, "epochs": 2}},
    },
}
WHOLE = pytest.mark.skipif(
    "WBC_LAYOUTS" not in os.environ, reason="a whole study takes minutes; WBC_LAYOUTS=1 runs it on each layout"
)


def reproduced(path: Path, source: str, root: Path, *stages: str) -> Path:
    """The report's profile on the archive `root`, reproduced as far as the stages."""

    def change(params: dict) -> None:
        params |= merge(params, {"profile": "report", "data": {"source": source}, **SMALL})

    start(path, change)
    (path / "data/raw").symlink_to(root)
    dvc(path, "repro", *stages)
    return path


def checked(path: Path, row: str) -> list[str]:
    """The ids of a row's submission, once the checker has passed it against the sample, if the source has one."""
    sample = path / "data/raw/sample_submission.csv"
    against = ["--sample", str(sample)] if sample.exists() else []
    file = f"data/predictions/{row}-0.csv"
    assert "complete and in order" in run(path, sys.executable, "-m", "wbc", "submission", file, *against)
    with (path / file).open(encoding="utf-8", newline="") as opened:
        return [row["ID"] for row in csv.DictReader(opened)]


@pytest.mark.slow
def test_a_kaggle_archive_gives_predictions_without_scores_and_submissions(archives, tmp_path):
    study = reproduced(tmp_path, "kaggle", archives("kaggle"), "predict@efficientnet-0", "gridsearch@0")
    for row, metrics in (("efficientnet", "predict/efficientnet-0"), ("gridsearch", "gridsearch/0")):
        measured = json.loads((study / f"metrics/{metrics}.json").read_text())
        assert "val_f1" in measured
        assert not any("test" in name for name in measured)
        assert checked(study, row) == ["00000502", "00000501", "00000500"]


@WHOLE
@pytest.mark.slow
@pytest.mark.parametrize("source", ["wbcbench", "kaggle", "folder"])
def test_the_whole_study_fills_its_table_whatever_the_layout(archives, tmp_path, source):
    study = reproduced(tmp_path, source, archives(source))
    print((study / "plots/results.md").read_text(encoding="utf-8"))
    with (study / "plots/results.csv").open(encoding="utf-8", newline="") as file:
        measured = {row["row"]: {name for name in MEASURED if row[name]} for row in csv.DictReader(file)}
    classical = {"classical_v1", "classical_v2", "gridsearch", "convnext_restarts_tta"}
    networks = set(measured) - classical
    assert len(networks) == 7
    hidden = {name for name in MEASURED if name.startswith("test")} if source == "kaggle" else set()
    for row, names in measured.items():
        expected = {
            "classical_v1": {"val_f1", "test_f1", "test_accuracy"},
            "classical_v2": {"val_f1", "test_f1", "test_accuracy"},
            "gridsearch": {"val_f1", "test_f1", "test_accuracy"},
            "convnext_restarts_tta": {"val_f1_tta", "test_f1_tta"},
        }.get(row, set(MEASURED))
        assert names == expected - hidden, row
    for row in ("gridsearch", *networks):
        ids = checked(study, row)
        assert len(ids) == {"wbcbench": 11, "kaggle": 3, "folder": 8}[source]
    if source == "kaggle":
        assert ids == ["00000502", "00000501", "00000500"]
        assert "test_f1" not in (study / "metrics/results.json").read_text()
