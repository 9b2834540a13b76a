"""A network and a classical model as one."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from wbc.classical.linear import Linear, save_linear

from stages import blend
from wbc.core.classes import CLASSES
from wbc.network.model import Trained, build, load_model, save_model
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions


def test_a_blend_is_the_mean_of_calibrated_probabilities_of_the_same_image(tiny_row, tmp_path, monkeypatch):
    """The network's temperature of a half squares 0.8 : 0.2 to 16 : 1; the classical model comes calibrated."""
    monkeypatch.chdir(tmp_path)
    settings = {"blend": {"features": "v2", "classifier": "lda"}, "external": {"sets": ["elsewhere"]}}
    monkeypatch.setattr(blend, "load", lambda stage, *row: SimpleNamespace(**settings[stage]))
    model, normalisation = build(tiny_row.model)
    of_row = tiny_row.model_dump(exclude_none=True)
    save_model("runs/mine-0/train/model.safetensors", Trained(model, of_row, normalisation, 32, None, temperature=0.5))
    save_linear("runs/v2-0/classical/lda.safetensors", Linear("v2", "lab", np.ones((13, 3)), np.zeros(13), 1.5))
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
    metrics = json.loads(Path("runs/mine-0/blend.json").read_text())
    assert metrics == {"val_f1": pytest.approx(1 / 3), "val_f1_tta": 0.0, "test_f1": 1.0, "test_f1_tta": 0.0}
    with Path("runs/mine-0/blend/submission.csv").open() as file:
        assert [line["labels"] for line in csv.DictReader(file)] == [CLASSES[12]] * 2
    both = load_model("runs/mine-0/blend/model.safetensors")
    assert (both.linear.temperature, both.share, both.temperature) == (1.5, 0.5, 0.5)
    assert all(torch.equal(*pair) for pair in zip(both.model.parameters(), model.parameters(), strict=True))
