"""Studies on other images: the report's profile on archives, and a laptop's on a folder."""

import csv
import json
import sys
from pathlib import Path

import pytest

from study import dvc, ran, reproduce, run, set_knob, start, without_additions
from wbc.core.classes import CLASSES
from wbc.scoring.predictions import read_predictions

pytestmark = pytest.mark.slow
SMALL = (  # of the report's profile all but what would take hours or a download
    "profile=report",
    "grid.n_estimators=[10]",
    "grid.max_depth=[3]",
    "model={name: test_convnext, weights: none, hidden: 16, activation: gelu, dropout_in: 0.0, dropout: 0.0}",
    "train.epochs=1",
    "ladder={final: {}, tuned: {train: {sampler: shuffle, retrain: 1}}}",
)


def begin(path: Path, root: Path, *changes: str) -> None:
    def change(params):
        without_additions(params)
        for knob in changes:
            set_knob(params, knob)

    start(path, change)
    (path / "data/raw").symlink_to(root)


@pytest.mark.parametrize(("source", "images"), [("wbcbench", 11), ("kaggle", 3)])
def test_the_whole_study_fills_its_table_whatever_the_layout(archives, tmp_path, source, images):
    begin(tmp_path, archives(source), f"data.source={source}", *SMALL)
    reproduce(tmp_path)
    results = json.loads((tmp_path / "metrics/results.json").read_text())
    classical = {"v1-classical", "v2-classical", "v3-classical", "v2-gridsearch"}
    assert results.keys() == {*classical, "final", "tuned", "best"}
    for row, scores in results.items():
        assert ("val_f1" if row in classical else "val_f1_tta") in scores
        assert any("test" in name for name in scores) == (source == "wbcbench")  # Kaggle's test labels are secret
    sample = ["--sample", "data/raw/sample_submission.csv"] if source == "kaggle" else []
    for folder in ("v2-0/gridsearch", "final-0/predict", "tuned-0/predict", "best-0"):
        file = f"runs/{folder}/submission.csv"
        checked = run(tmp_path, sys.executable, "-m", "wbc", "submission", file, *sample)
        assert f"{images} predictions, complete" in checked
        with (tmp_path / file).open(encoding="utf-8", newline="") as opened:
            ids = [line["ID"] for line in csv.DictReader(opened)]
        assert source != "kaggle" or ids == ["00000502", "00000501", "00000500"]  # the sample's order


def test_a_laptop_trains_what_its_best_model_needs_and_classifies_with_it(archives, tmp_path):
    begin(tmp_path, archives("folder"), "profile=laptop", "ladder.tuned.train.epochs=1")
    said = dvc(tmp_path, "repro", "blend@0")
    assert {name for name in ran(said) if name.startswith(("train", "classical"))} == {
        "train@tuned-0",
        "classical@v3-0",
    }
    run(tmp_path, sys.executable, "-m", "wbc", "classify", "data/raw/test", "--out", "found.csv")
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as file:
        found = {Path(line["image"]).stem: line for line in csv.DictReader(file)}
    stage = read_predictions(tmp_path / "runs/best-0/predictions.npz", "test")
    assert len(found) == len(stage.ids) == 8
    for id, probabilities in zip(stage.ids, stage.probabilities, strict=True):
        assert found[Path(id).stem]["label"] == CLASSES[probabilities.argmax()]
        assert float(found[Path(id).stem]["probability"]) == pytest.approx(probabilities.max(), abs=1e-3)
