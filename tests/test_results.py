"""The projection, and the outputs of predicting."""

from types import SimpleNamespace

import numpy as np
import pytest

from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.core.tables import INGEST, PIXELS, SPLIT, mark
from wbc.projection import project
from wbc.report.calibration import calibration_tables
from wbc.report.study import Model
from wbc.scoring.predictions import read_predictions


def test_tsne_separates_clusters_and_repeats_itself():
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
def test_each_part_is_predicted_and_one_without_labels_has_no_scores(tmp_path, monkeypatch, trained, coloured, test):
    from stages import predict
    from wbc.network.model import save_model

    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(validation=0.5, tta={"passes": 1, "temperature": 0.8}, sets=["other"])
    monkeypatch.setattr(predict, "load", lambda *names: settings)
    labels = {"study": ["SNE", "LY", "SNE", "LY", *test], "other": ["LY", "MO"]}
    for name, of_set in labels.items():
        images = [(f"{name}-{i}", label, "", "") for i, label in enumerate(of_set)]
        write_csv(INGEST / name / "manifest.csv", ["id", "label", "path", "mask"], images)
        (PIXELS / name).mkdir(parents=True)
        np.save(PIXELS / name / "images.npy", coloured.pixels.packed[: len(images)])
        mark(PIXELS / name, name)
    mark(INGEST / "other", "study")
    places = [(f"study-{i}", "" if i > 3 else 0) for i in range(4 + len(test))]
    write_csv(SPLIT / "0/validation.csv", ["id", "validation"], places)
    save_model("runs/a-0/train/model.safetensors", trained)
    mark(tmp_path / "runs/a-0/train", "study")

    predict.main("a", "0")
    validation, tested, other = (
        read_predictions("runs/a-0/predict/predictions.npz", part) for part in ("validation", "test", "other")
    )
    assert validation.ids.tolist() == [f"study-{i}" for i in range(4)]
    assert other.target.tolist() == [1, 2]
    assert other.novelty.shape == (2,)
    np.testing.assert_allclose(other.probabilities, validation.probabilities[:2], atol=1e-5)  # the same pixels
    assert (tested is None) == (not test) == (not (tmp_path / "runs/a-0/predict/submission.csv").exists())
    if test:
        assert tested.target.tolist() == [CLASSES.index(label) if label else -1 for label in test]
    with np.load("runs/a-0/predict/embeddings.npz") as stored:
        assert stored["embeddings"].shape == (4, trained.model.backbone.num_features)
    models = [Model("a", "network", "a")]
    errors, curves = calibration_tables(SimpleNamespace(of_kind=lambda *kinds: models, repeats=[0]))
    known = sum(label != "" for label in test)
    images = curves.groupby("probabilities")["images"].sum().to_dict()
    assert images == ({"plain": known, "with TTA": known} if known else {})
    assert errors["probabilities"].tolist() == ["plain", "plain", "with TTA", "with TTA"] * (known > 0)
