"""The report's profile on an archive of each layout, with tiny networks: from the images to the results table."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest

from study import dvc, merge, ran, run, start
from wbc.core.classes import CLASSES
from wbc.report.results import MEASURED
from wbc.scoring.predictions import read_predictions

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


def checked(path: Path, made_by: str) -> list[str]:
    """The ids of a submission, once the checker has passed it against the sample, if the source has one."""
    sample = path / "data/raw/sample_submission.csv"
    against = ["--sample", str(sample)] if sample.exists() else []
    file = f"runs/{made_by}/submission.csv"
    assert " predictions, complete" in run(path, sys.executable, "-m", "wbc", "submission", file, *against)
    with (path / file).open(encoding="utf-8", newline="") as opened:
        return [row["ID"] for row in csv.DictReader(opened)]


@pytest.mark.slow
def test_a_kaggle_archive_gives_predictions_without_scores_and_submissions(archives, tmp_path):
    reproduced(tmp_path, archives("kaggle"), small("kaggle"), "blend@best-0", "gridsearch@0")
    for made_by in ("best-0/predict", "best-0/blend", "v2-0/gridsearch"):
        measured = json.loads((tmp_path / f"runs/{made_by}.json").read_text())
        assert "val_f1" in measured
        assert not any("test" in name for name in measured)
        assert checked(tmp_path, made_by) == ["00000502", "00000501", "00000500"]


@pytest.mark.slow
def test_a_laptop_trains_what_its_best_model_needs_and_classifies_with_it(archives, tmp_path):
    short = {"profile": "laptop", "ladder": {"best": {"train": {"epochs": 1}}}}
    said = reproduced(tmp_path, archives("folder"), short, "blend@best-0")
    assert {name for name in ran(said) if name.startswith(("train", "classical"))} == {"train@best-0", "classical@v3-0"}
    file = next((tmp_path / "runs/best-0/blend").glob("model.*"))
    model = ("--model", str(file), "--out", "found.csv")
    run(tmp_path, sys.executable, "-m", "wbc", "classify", "data/raw/test", *model)
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as file:
        found = {Path(line["image"]).stem: line for line in csv.DictReader(file)}
    # what it says of an image is what the stage found for it
    stage = read_predictions(tmp_path / "runs/best-0/blend/predictions.npz", "test")
    assert len(found) == len(stage.ids) == 8
    for id, probabilities in zip(stage.ids, stage.probabilities, strict=True):
        assert found[Path(id).stem]["label"] == CLASSES[probabilities.argmax()]
        assert float(found[Path(id).stem]["probability"]) == pytest.approx(probabilities.max(), abs=1e-3)


@WHOLE
@pytest.mark.slow
@pytest.mark.parametrize("source", ["wbcbench", "kaggle", "folder"])
def test_the_whole_study_fills_its_table_whatever_the_layout(archives, tmp_path, source):
    reproduced(study := tmp_path, archives(source), small(source))
    print((study / "plots/results.md").read_text(encoding="utf-8"))
    with (study / "plots/results.csv").open(encoding="utf-8", newline="") as file:
        measured = {row["row"]: {name for name in MEASURED if row[name]} for row in csv.DictReader(file)}
    hidden = {name for name in MEASURED if name.startswith("test")} if source == "kaggle" else set()
    folded, blended = {"val_f1", "test_f1", "test_accuracy"}, set(MEASURED) - {"val_f1_last"}
    special = dict.fromkeys(("v1-classical", "v2-classical", "v3-classical", "v2-gridsearch"), folded)
    special |= {"best-blend": blended, "convnext_restarts-tta": {"val_f1_tta", "test_f1_tta"}}
    for row, names in measured.items():
        assert names == special.get(row, set(MEASURED)) - hidden, row
    rows = measured.keys() - special.keys()
    assert len(rows) == 8
    for made_by in ("v2-0/gridsearch", "best-0/blend", *(f"{row}-0/predict" for row in rows)):
        ids = checked(study, made_by)
        assert len(ids) == {"wbcbench": 11, "kaggle": 3, "folder": 8}[source]
    if source == "kaggle":
        assert ids == ["00000502", "00000501", "00000500"]
        assert "test_f1" not in (study / "metrics/results.json").read_text()
