"""Scores by hand, the projection, and what predicting leaves behind."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from wbc.classes import CLASSES
from wbc.data.tables import PIXELS, VALIDATION, read_manifest, write_npy, write_split
from wbc.evaluate.scores import accuracy, confusion, macro_f1, per_class
from wbc.io import write_csv
from wbc.projection import project
from wbc.report.calibrated import calibrated


def test_macro_f1_by_hand():
    target, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    # F1: class 0 2·2/(3+3) = 2/3, class 1 2·2/(2+3) = 4/5, class 2 0
    assert macro_f1(target, predicted) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert accuracy(target, predicted) == pytest.approx(4 / 6)
    assert [(row[0], row[4]) for row in per_class(target, predicted)] == [("SNE", 3), ("LY", 2), ("MO", 1)]
    assert per_class(target, predicted)[0][1:4] == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert confusion(target, predicted)[:3] == [("SNE", "SNE"), ("SNE", "SNE"), ("SNE", "LY")]


def test_an_unlabelled_part_has_no_scores_by_class():
    nothing = np.array([], np.int64)
    assert per_class(nothing, nothing) == confusion(nothing, nothing) == []


def test_a_class_nobody_has_and_nobody_claims_is_no_failure():
    assert macro_f1(np.array([0, 5]), np.array([0, 5])) == 1.0


def test_tsne_separates_what_is_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 20)
    embeddings = rng.normal(size=(40, 8)).astype(np.float32) + 20 * targets[:, None]
    points = project(embeddings, perplexity=30, seed=1)  # more than 39 / 3: lowered
    assert points.shape == (40, 2)
    between = np.linalg.norm(points[targets == 0].mean(0) - points[targets == 1].mean(0))
    assert between > 3 * points[targets == 0].std()
    assert np.array_equal(points, project(embeddings, 30, 1))
    assert project(embeddings[:2], 30, 1).shape == (2, 2)


@pytest.mark.parametrize("spread", [0.0, 1e-30, 1e-12])
def test_tsne_of_equal_embeddings_does_not_crash(spread):
    """In a process of its own: it was a segmentation fault."""
    code = f"""
import numpy as np
from wbc.projection import project
embeddings = np.full((40, 8), 0.1, np.float32)
embeddings[0] += np.float32({spread})
assert (project(embeddings, 30, 1) == 0).all()
embeddings = np.zeros((40, 8), np.float32)
embeddings[0] = {spread}
assert np.isfinite(project(embeddings, 30, 1)).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("test", [["SNE", "LY", "SNE"], ["", "LY", ""], []], ids=["labelled", "partly", "none"])
def test_each_part_leaves_its_confusions_and_one_without_labels_an_empty_table(
    tmp_path, monkeypatch, tiny_row, coloured, test
):
    from stages import predict
    from wbc.network.model import Trained, build, save_model
    from wbc.network.reference import reference

    monkeypatch.chdir(tmp_path)
    labels = ["SNE", "LY", "SNE", "LY", *test]
    images = [(str(i), "", "", 32, 32, label, "train" if i < 4 else "test", "", "") for i, label in enumerate(labels)]
    write_csv(
        "data/manifest.csv", ["id", "path", "sha256", "width", "height", "label", "part", "mask", "group"], images
    )
    manifest, places = read_manifest(), [0.0] * 4 + [np.nan] * len(test)
    write_split(VALIDATION, 0, manifest, pd.Series(places, name="validation"))
    write_npy(PIXELS, manifest, (32, 32, 3), "|u1", coloured.pixels.packed[: len(labels)])
    (tmp_path / "configs").mkdir()
    settings = tiny_row.model_dump(exclude_none=True)
    (tmp_path / "configs/a.yaml").write_text(json.dumps(settings))
    model, normalisation = build(tiny_row.model)
    known = reference(model.backbone, normalisation, coloured, coloured)
    save_model(tmp_path / "models/a-0.safetensors", Trained(model.eval(), settings, normalisation, 32, known))

    predict.main("a", "0")
    with np.load("data/predictions/a-0.npz") as stored:
        probabilities = {part: stored.get(f"{part}_probabilities") for part in ("val", "test")}
    for name, part, short in (("confusion.csv", "train", "val"), ("confusion_test.csv", "test", "test")):
        rows = manifest[manifest["part"] == part]
        found = [] if probabilities[short] is None else probabilities[short].argmax(1)
        pairs = [(CLASSES.index(label), c) for label, c in zip(rows["label"], found, strict=True) if label]
        expected = [f"{CLASSES[actual]},{CLASSES[predicted]}" for actual, predicted in sorted(pairs)]
        assert (tmp_path / "plots/predict/a-0" / name).read_text().splitlines() == ["actual,predicted", *expected]

    known = sum(label != "" for label in test)
    metrics = json.loads((tmp_path / "metrics/predict/a-0.json").read_text())
    assert "val_f1" in metrics
    for score in ("test_f1", "test_f1_tta", "test_accuracy"):
        assert (score in metrics) == (known > 0)
    with np.load("data/embeddings/a-0.npz") as stored:
        assert stored["embeddings"].shape == (4, model.backbone.num_features)
    errors, curves = calibrated(SimpleNamespace(models=["a"], blends={}, repeats=[0]))
    images = curves.groupby("probabilities")["images"].sum()
    assert images.to_dict() == ({"plain": known, "with TTA": known} if known else {})
    assert errors["probabilities"].tolist() == ["plain", "plain", "with TTA", "with TTA"] * (known > 0)
