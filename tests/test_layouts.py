"""The report's profile on an archive of each layout, with tiny networks: from the images to the results table."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from study import dvc, merge, ran, run, start
from wbc.core.classes import CLASSES
from wbc.report.results import MEASURED

SMALL = {  # of the report's profile all but what would take hours or a download
    "grid": {"n_estimators": [10], "max_depth": [3]},
    "model": {"name": "test_convnext", "weights": "none"},
    "train": {"epochs": 1},
    "ladder": {
        "efficientnet": {"model": {"name": "test_efficientnet", "weights": "none"}, "train": {"epochs": 1}},
        "convnext_restarts": {"train": {"epochs": 1}},
        "freeze": {"train": {"freeze": 1, "epochs": 2}},
        "best": {"model": {"name": "test_convnext", "weights": "none"}, "train": {"epochs": 1, "retrain": 1}},
    },
}
WHOLE = pytest.mark.skipif(
    "WBC_LAYOUTS" not in os.environ, reason="a whole study takes minutes; WBC_LAYOUTS=1 runs it on each layout"
)


def reproduced(path: Path, root: Path, changes: dict, *stages: str) -> str:
    """What DVC says while it reproduces the archive `root` in `path` as far as the stages."""
    start(path, lambda params: params.update(merge(params, changes)))
    (path / "data/raw").symlink_to(root)
    return dvc(path, "repro", *stages)


def small(source: str) -> dict:
    return {"profile": "report", "data": {"source": source}, **SMALL}


def checked(path: Path, row: str) -> list[str]:
    """The ids of a row's submission, once the checker has passed it against the sample, if the source has one."""
    sample = path / "data/raw/sample_submission.csv"
    against = ["--sample", str(sample)] if sample.exists() else []
    file = f"data/predictions/{row}-0.csv"
    assert " predictions, complete" in run(path, sys.executable, "-m", "wbc", "submission", file, *against)
    with (path / file).open(encoding="utf-8", newline="") as opened:
        return [row["ID"] for row in csv.DictReader(opened)]


@pytest.mark.slow
def test_a_kaggle_archive_gives_predictions_without_scores_and_submissions(archives, tmp_path):
    reproduced(tmp_path, archives("kaggle"), small("kaggle"), "blend@best-0", "gridsearch@0")
    for row, metrics in (
        ("best", "predict/best-0"),
        ("best_blend", "predict/best_blend-0"),
        ("gridsearch", "gridsearch/0"),
    ):
        measured = json.loads((tmp_path / f"metrics/{metrics}.json").read_text())
        assert "val_f1" in measured
        assert not any("test" in name for name in measured)
        assert checked(tmp_path, row) == ["00000502", "00000501", "00000500"]


@pytest.mark.slow
def test_a_laptop_trains_what_its_best_model_needs_and_classifies_with_it(archives, tmp_path):
    short = {"profile": "laptop", "ladder": {"best": {"train": {"epochs": 1}}}}
    said = reproduced(tmp_path, archives("folder"), short, "blend@best-0")
    assert {name for name in ran(said) if name.startswith(("train", "classical"))} == {"train@best-0", "classical@v3-0"}
    model = ("--model", "models/best_blend-0.safetensors", "--out", "found.csv")
    run(tmp_path, sys.executable, "-m", "wbc", "classify", "data/raw/test", *model)
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as file:
        found = {Path(line["image"]).stem: line for line in csv.DictReader(file)}
    # what it says of an image is what the stage found for it
    with np.load(tmp_path / "data/predictions/best_blend-0.npz") as stored:
        assert len(found) == len(stored["test_ids"]) == 8
        for id, chances in zip(stored["test_ids"], stored["test_probabilities"], strict=True):
            assert found[Path(id).stem]["label"] == CLASSES[chances.argmax()]
            assert float(found[Path(id).stem]["probability"]) == pytest.approx(chances.max(), abs=1e-3)


@WHOLE
@pytest.mark.slow
@pytest.mark.parametrize("source", ["wbcbench", "kaggle", "folder"])
def test_the_whole_study_fills_its_table_whatever_the_layout(archives, tmp_path, source):
    reproduced(study := tmp_path, archives(source), small(source))
    print((study / "plots/results.md").read_text(encoding="utf-8"))
    with (study / "plots/results.csv").open(encoding="utf-8", newline="") as file:
        measured = {row["row"]: {name for name in MEASURED if row[name]} for row in csv.DictReader(file)}
    classical = {"classical_v1", "classical_v2", "classical_v3", "gridsearch", "convnext_restarts_tta"}
    networks = set(measured) - classical
    assert len(networks) == 9
    hidden = {name for name in MEASURED if name.startswith("test")} if source == "kaggle" else set()
    for row, names in measured.items():
        expected = {
            "classical_v1": {"val_f1", "test_f1", "test_accuracy"},
            "classical_v2": {"val_f1", "test_f1", "test_accuracy"},
            "classical_v3": {"val_f1", "test_f1", "test_accuracy"},
            "best_blend": set(MEASURED) - {"val_f1_last"},
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
