"""Scores by hand, the projection, and what predicting leaves behind."""

from types import SimpleNamespace

import numpy as np
import pytest

from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.core.tables import INGEST, PIXELS, SPLIT, mark
from wbc.projection import project
from wbc.report.calibrated import calibrated
from wbc.report.study import Model
from wbc.scoring.predictions import read_predictions
from wbc.scoring.scores import accuracy, confusion, macro_f1, per_class


def test_macro_f1_by_hand():
    target, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    # F1: class 0 2·2/(3+3) = 2/3, class 1 2·2/(2+3) = 4/5, class 2 0
    assert macro_f1(target, predicted) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert accuracy(target, predicted) == pytest.approx(4 / 6)
    assert [(row[0], row[4]) for row in per_class(target, predicted)] == [("SNE", 3), ("LY", 2), ("MO", 1)]
    assert per_class(target, predicted)[0][1:4] == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert confusion(target, predicted)[:3] == [("SNE", "SNE"), ("SNE", "SNE"), ("SNE", "LY")]
    nothing = np.array([], np.int64)
    assert per_class(nothing, nothing) == confusion(nothing, nothing) == []
    assert macro_f1(np.array([0, 5]), np.array([0, 5])) == 1.0  # a class nobody has and nobody claims is no failure


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


@pytest.mark.parametrize("test", [["SNE", "LY", "SNE"], ["", "LY", ""], []], ids=["labelled", "partly", "none"])
def test_each_part_is_predicted_and_one_without_labels_has_no_scores(tmp_path, monkeypatch, tiny_row, coloured, test):
    from stages import predict
    from wbc.network.model import Network, build, save_model
    from wbc.network.reference import fit_reference

    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(validation=0.5, tta={"passes": 1, "temperature": 0.8}, sets=["elsewhere"])
    monkeypatch.setattr(predict, "load", lambda *names: settings)
    labels = {"study": ["SNE", "LY", "SNE", "LY", *test], "elsewhere": ["LY", "MO"]}
    for name, of_set in labels.items():
        images = [(f"{name}-{i}", label, "", "") for i, label in enumerate(of_set)]
        write_csv(INGEST / name / "manifest.csv", ["id", "label", "path", "mask"], images)
        (PIXELS / name).mkdir(parents=True)
        np.save(PIXELS / name / "images.npy", coloured.pixels.packed[: len(images)])
        mark(PIXELS / name, name)
    mark(INGEST / "elsewhere", "study")
    places = [(f"study-{i}", "" if i > 3 else 0) for i in range(4 + len(test))]
    write_csv(SPLIT / "0/validation.csv", ["id", "validation"], places)
    model, normalisation = build(tiny_row.model)
    known = fit_reference(model.backbone, normalisation, coloured, coloured)
    trained = Network(model.eval(), tiny_row.model_dump(exclude_none=True), normalisation, 32, known)
    save_model("runs/a-0/train/model.safetensors", trained)
    mark(tmp_path / "runs/a-0/train", "study")

    predict.main("a", "0")
    found = {part: read_predictions("runs/a-0/predict/predictions.npz", part) for part in ("validation", "test")}
    assert found["validation"].ids.tolist() == [f"study-{i}" for i in range(4)]
    elsewhere = read_predictions("runs/a-0/predict/predictions.npz", "elsewhere")
    assert elsewhere.target.tolist() == [1, 2]
    assert elsewhere.novelty.shape == (2,)
    np.testing.assert_allclose(elsewhere.probabilities, found["validation"].probabilities[:2], atol=1e-5)  # same pixels
    if test:
        assert found["test"].target.tolist() == [CLASSES.index(label) if label else -1 for label in test]
    known = sum(label != "" for label in test)
    assert (found["test"] is None) == (not test) == (not (tmp_path / "runs/a-0/predict/submission.csv").exists())
    with np.load("runs/a-0/predict/embeddings.npz") as stored:
        assert stored["embeddings"].shape == (4, model.backbone.num_features)
    kinds = {"network": [Model("a", "network", "a")], "blend": []}
    errors, curves = calibrated(SimpleNamespace(of_kind=kinds.get, repeats=[0]))
    images = curves.groupby("probabilities")["images"].sum()
    assert images.to_dict() == ({"plain": known, "with TTA": known} if known else {})
    assert errors["probabilities"].tolist() == ["plain", "plain", "with TTA", "with TTA"] * (known > 0)
