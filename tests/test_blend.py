"""The stage `blend`."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages import blend
from wbc.classical.model import save_classical
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.models.model import load
from wbc.network.model import save_model
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions


def test_a_blend_is_the_mean_of_calibrated_probabilities_of_the_same_image(trained, classical, tmp_path, monkeypatch):
    """The network's temperature of ½ squares 0.8 : 0.2 to 16 : 1; the classical predictions are calibrated."""
    monkeypatch.chdir(tmp_path)
    settings = {"blend": {"row": "mine", "features": "v3"}, "external": {"sets": ["elsewhere"]}}
    monkeypatch.setattr(blend, "load", lambda stage: SimpleNamespace(**settings[stage]))
    for name in ("stages.blend.check", "wbc.scoring.predictions.mark"):  # there are no images
        monkeypatch.setattr(name, lambda *folder_and_sets: None)
    save_model("runs/mine-0/train/model.safetensors", trained._replace(temperature=0.5))
    save_classical("runs/v3-0/classical/lda.skops", classical)
    sure, other = np.eye(13)[:2].T @ [0.8, 0.2], np.eye(13)[:2].T @ [0.1, 0.9]

    def predictions(ids, targets, *probabilities, novelty=None):
        return Predictions(np.array([*ids]), np.array(targets), np.stack(probabilities), None, novelty)

    network = {
        "validation": predictions("ab", [0, 1], sure, sure),
        "test": predictions("tu", [0, -1], sure, sure, novelty=np.array([0.5, 2.0])),
        "elsewhere": predictions("tu", [0, 1], sure, sure, novelty=np.array([0.5, 2.0])),
    }
    network = {name: part._replace(tta=part.probabilities[:, ::-1]) for name, part in network.items()}
    write_predictions("runs/mine-0/predict/predictions.npz", network)
    partner = {  # more images, in another order
        "validation": predictions("xba", [0, 1, 0], sure, other, sure),
        "test": predictions("ut", [-1, 0], other, sure, novelty=np.ones(2)),
    }
    write_predictions("runs/v3-0/classical/lda.npz", partner)
    write_csv("runs/v3-0/classical/folds.csv", ["classifier", "f1"], [("knn", 0.9), ("knn", 0.1), *[("lda", 0.6)] * 2])
    write_predictions("runs/v3-0/external/lda.npz", {"elsewhere": predictions("ut", [1, 0], other, sure)})

    blend.main("0")
    for part, novelty in {"validation": None, "test": [1.0, 2.0], "elsewhere": [0.5, 2.0]}.items():  # the larger one
        found = read_predictions("runs/best-0/predictions.npz", part)
        assert found.ids.tolist() == network[part].ids.tolist()
        assert found.probabilities[:, 0] == pytest.approx([(16 / 17 + 0.8) / 2, (16 / 17 + 0.1) / 2])
        assert found.tta[0, 12] == pytest.approx(8 / 17)
        assert (found.novelty if novelty is None else found.novelty.tolist()) == novelty
    with Path("runs/best-0/submission.csv").open() as file:
        assert [line["labels"] for line in csv.DictReader(file)] == [CLASSES[12]] * 2
    model = load("runs/best-0/model.zip")
    assert (model.weights, model.network.temperature, model.classical.temperature) == ((0.5, 0.5), 0.5, 0.5)
