"""A network and a classical model as one."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from stages import blend
from wbc.classes import CLASSES
from wbc.classical.linear import Linear, save_linear
from wbc.data.tables import fingerprint
from wbc.io import write_npz
from wbc.network.model import Trained, build, load_model, save_model


def test_a_blend_is_the_mean_of_calibrated_probabilities_of_the_same_image(tiny_row, tmp_path, monkeypatch):
    """The network's temperature of a half squares 0.8 : 0.2 to 16 : 1; the classical model comes calibrated."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blend, "load", lambda _: SimpleNamespace(rows=["mine"], features="v2", classifier="lda"))
    model, normalisation = build(tiny_row.model)
    manifest = pd.DataFrame({"id": ["x", "a", "b", "t", "u"]})
    monkeypatch.setattr(blend, "read_manifest", lambda: manifest)
    settings = tiny_row.model_dump(exclude_none=True)
    trained = Trained(model, settings, normalisation, 32, None, temperature=0.5)
    save_model(Path("models/mine-0.safetensors"), trained)
    partner = Linear("v2", "lab", np.ones((13, 3)), np.zeros(13), 1.5)
    save_linear(Path("models/classical/v2-0/lda.safetensors"), partner)
    sure, other = np.zeros(13), np.zeros(13)
    sure[:2], other[:2] = (0.8, 0.2), (0.1, 0.9)
    network = np.stack([sure, sure])
    arrays = []
    for part, ids in (("val", ["a", "b"]), ("test", ["t", "u"])):
        arrays += [(f"{part}_ids", np.array(ids)), (f"{part}_targets", np.array([0, -1 if part == "test" else 1]))]
        arrays += [(f"{part}_probabilities", network), (f"{part}_probabilities_tta", network[:, ::-1])]
    write_npz("data/predictions/mine-0.npz", arrays, fingerprint(manifest))
    stored = [("out_of_fold_ids", np.array(["x", "b", "a"])), ("test_ids", np.array(["u", "t"]))]
    stored += [("lda_out_of_fold", np.stack([sure, other, sure])), ("lda_test", np.stack([other, sure]))]
    write_npz("data/predictions/v2-0.npz", stored, fingerprint(manifest))

    blend.main("mine", "0")
    with np.load("data/predictions/mine_blend-0.npz") as found:
        for part in ("val", "test"):
            first, second = found[f"{part}_probabilities"][:, 0]
            assert (first, second) == (pytest.approx((16 / 17 + 0.8) / 2), pytest.approx((16 / 17 + 0.1) / 2))
            assert found[f"{part}_probabilities_tta"][0, 12] == pytest.approx(8 / 17)
    metrics = json.loads(Path("metrics/predict/mine_blend-0.json").read_text())
    assert (metrics["val_accuracy"], metrics["test_accuracy"], metrics["test_f1_tta"]) == (0.5, 1.0, 0.0)
    with Path("data/predictions/mine_blend-0.csv").open() as file:
        assert [line["labels"] for line in csv.DictReader(file)] == [CLASSES[12]] * 2
    both = load_model("models/mine_blend-0.safetensors")
    assert (both.linear.temperature, both.share, both.temperature) == (1.5, 0.5, 0.5)
    assert all(torch.equal(*pair) for pair in zip(both.model.parameters(), model.parameters(), strict=True))
