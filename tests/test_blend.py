"""A network and a classical model as one."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages import blend
from wbc.classical.model import Classical, save_classical
from wbc.core.classes import CLASSES
from wbc.models.model import load
from wbc.network.model import Network, build, save_model
from wbc.scoring.novelty import Reference
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions


def test_a_blend_is_the_mean_of_calibrated_probabilities_of_the_same_image(tiny_row, tmp_path, monkeypatch):
    """The network's temperature of a half squares 0.8 : 0.2 to 16 : 1; the classical model comes calibrated."""
    monkeypatch.chdir(tmp_path)
    settings = {"blend": {"features": "v2", "classifier": "lda"}, "external": {"sets": ["elsewhere"]}}
    for name in ("check", "mark"):  # there are no images
        monkeypatch.setattr(blend, name, lambda *folder_and_sets: None)
    monkeypatch.setattr(blend, "load", lambda stage, *row: SimpleNamespace(**settings[stage]))
    model, normalisation = build(tiny_row.model)
    of_row = tiny_row.model_dump(exclude_none=True)
    save_model("runs/mine-0/train/model.safetensors", Network(model, of_row, normalisation, 32, None, temperature=0.5))
    pipeline = make_pipeline(StandardScaler(), DummyClassifier()).fit(np.zeros((2, 89)), [0, 1])
    around = Reference(np.zeros((1, 89)), np.eye(89), 1.0)
    save_classical("runs/v2-0/classical/lda.skops", Classical("v2", "lab", pipeline, 1.5, around))
    sure, other = np.zeros(13), np.zeros(13)
    sure[:2], other[:2] = (0.8, 0.2), (0.1, 0.9)

    def of(ids, targets, *probabilities, novelty=None):
        return Predictions(np.array(ids), np.array(targets), np.stack(probabilities), None, novelty)

    far = np.array([0.5, 2.0])
    network = {
        "validation": of(["a", "b"], [0, 1], sure, sure),
        "test": of(["t", "u"], [0, -1], sure, sure, novelty=far),
        "elsewhere": of(["t", "u"], [0, 1], sure, sure, novelty=far),
    }
    network = {name: part._replace(tta=part.probabilities[:, ::-1]) for name, part in network.items()}
    write_predictions("runs/mine-0/predict/predictions.npz", network)
    near = np.array([1.0, 1.0])
    partner = {  # of more images, and in another order
        "validation": of(["x", "b", "a"], [0, 1, 0], sure, other, sure),
        "test": of(["u", "t"], [-1, 0], other, sure, novelty=near),
    }
    write_predictions("runs/v2-0/classical/lda.npz", partner)
    write_predictions("runs/v2-0/external/lda.npz", {"elsewhere": of(["u", "t"], [1, 0], other, sure)})

    blend.main("mine", "0")
    for part in network:
        found = read_predictions("runs/mine-0/blend/predictions.npz", part)
        assert found.ids.tolist() == network[part].ids.tolist()
        assert found.probabilities[:, 0] == pytest.approx([(16 / 17 + 0.8) / 2, (16 / 17 + 0.1) / 2])
        assert found.tta[0, 12] == pytest.approx(8 / 17)
        expected = {"validation": None, "test": [1.0, 2.0], "elsewhere": [0.5, 2.0]}[part]  # of the farther one
        assert (found.novelty if expected is None else found.novelty.tolist()) == expected
    with Path("runs/mine-0/blend/submission.csv").open() as file:
        assert [line["labels"] for line in csv.DictReader(file)] == [CLASSES[12]] * 2
    (first, both), (second, measured) = load("runs/mine-0/blend/model.zip").parts
    assert (first, second) == (0.5, 0.5)
    assert (both.network.temperature, measured.classical.temperature) == (0.5, 1.5)
    assert all(torch.equal(*pair) for pair in zip(both.network.model.parameters(), model.parameters(), strict=True))
