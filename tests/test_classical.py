"""Classifiers, cross-validation, oversampling, grid search and their stages."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from stages import classical as stage
from stages import gridsearch as grid_stage
from wbc.classical.gridsearch import grid_point, importance, oversample, search, without_smote
from wbc.classical.model import load_classical
from wbc.classical.models import classifiers, cross_validate, gradient_boosting, probabilities
from wbc.classical.table import Dataset
from wbc.config.schema import GridSearch
from wbc.core.classes import CLASSES
from wbc.scoring.predictions import read_predictions
from wbc.scoring.scores import macro_f1


def classifier(name, implementation="hist"):
    return classifiers(implementation, balanced=False, seed=1)[name]


@pytest.fixture
def blobs():
    """Three well separated classes of 60, 30 and 5 cells, in 5 folds."""
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1, 2], [60, 30, 5])
    corners = np.array([[0, 0], [9, 0], [0, 9]])
    return corners[target] + rng.normal(size=(95, 2)), target, np.arange(95) % 5


# --- classifiers


def test_class_weights_and_boosting_are_those_of_the_report():
    for balanced, expected in (
        (False, set()),
        (True, {"logistic_regression", "svm_rbf", "svm_tuned", "random_forest"}),
    ):
        models = {name: model[-1] for name, model in classifiers("hist", balanced, 1).items()}
        assert {name for name, model in models.items() if model.get_params().get("class_weight")} == expected
    assert isinstance(classifier("gradient_boosting")[-1], HistGradientBoostingClassifier)
    assert isinstance(classifier("gradient_boosting", "exact")[-1], GradientBoostingClassifier)


def test_lda_is_shrunk():
    """60 cells with 300 weak features: the covariance is singular without shrinkage."""
    rng = np.random.default_rng(0)
    target = np.arange(1060) % 2
    features = 0.15 * target[:, None] + rng.normal(size=(1060, 300))
    model = classifier("lda").fit(features[:60], target[:60])
    assert (model.predict(features[60:]) == target[60:]).mean() > 0.65


@pytest.mark.parametrize("kinds", [2, 4])
def test_svm_probabilities_are_near_the_true_ones(kinds):
    rng = np.random.default_rng(0)
    target = rng.integers(0, kinds, 1000)
    features = 2.0 * np.eye(kinds)[target] + rng.normal(size=(1000, kinds))
    model = classifier("svm_rbf")[-1].fit(features[:500], target[:500])
    found, target = model.predict_proba(features[500:]), target[500:]
    assert (found.argmax(1) == model.predict(features[500:])).mean() > 0.97
    assert found.max(1).mean() == pytest.approx((found.argmax(1) == target).mean(), abs=0.1)
    exact = softmax(2.0 * features[500:], axis=1)  # Bayes' rule for normal densities
    assert log_loss(target, found) < 1.25 * log_loss(target, exact)


def test_knn_gives_every_class_a_probability(blobs):
    found = classifier("knn").fit(*blobs[:2]).predict_proba([[0.0, 0.0]])  # all neighbours are of class 0
    np.testing.assert_allclose(found, [[(5 + 1 / 3) / 6, 1 / 18, 1 / 18]])


@pytest.mark.parametrize("implementation", ["hist", "exact"])
def test_boosting_fits_a_small_class(implementation):
    """Its 3 + 5 cells lie crosswise to the other class, where sums of one-feature splits cannot separate them."""
    features = np.repeat([[0, 0], [1, 1], [0, 1], [1, 0]], [5, 3, 60, 60], axis=0)
    target = features[:, 0] == features[:, 1]
    model = classifier("gradient_boosting", implementation).fit(features, target)
    assert (model.predict(features) == target).all()


@pytest.mark.parametrize("model", [SVC(), KNeighborsClassifier(3)], ids=["without", "with"])
def test_probabilities_have_a_column_for_every_class_of_the_study(blobs, model):
    features, target, _ = blobs
    fitted = model.fit(features, 5 + target)
    found = probabilities(fitted, features)
    assert found.shape == (len(features), 13)
    np.testing.assert_allclose(found.sum(1), 1)
    assert np.array_equal(found.argmax(1), fitted.predict(features))
    assert not found[:, :5].any()
    assert probabilities(fitted, features[:0]).shape == (0, 13)


# --- cross-validation


def test_cross_validation_predicts_with_the_other_folds_and_fits_on_all(blobs):
    features, target, fold = blobs
    models = {"dummy": DummyClassifier(), "nearest": KNeighborsClassifier(1)}
    found = cross_validate(models, *blobs)
    assert (found["nearest"].out_of_fold.argmax(1) == target).mean() > 0.95
    assert np.array_equal(found["nearest"].model.predict(features), target)  # each cell is its own neighbour
    assert len(np.unique(found["dummy"].model.predict(features))) == 1
    noise = np.random.default_rng(1).permutation(target)  # a model fitted on the cell itself would always be right
    found = cross_validate(models, features, noise, fold)
    assert (found["nearest"].out_of_fold.argmax(1) == noise).mean() < 0.7


def test_features_are_standardised(blobs):
    stretched = np.column_stack([blobs[0], 1e6 * np.random.default_rng(2).normal(size=95)])
    assert classifier("knn").fit(stretched[::2], blobs[1][::2]).score(stretched[1::2], blobs[1][1::2]) > 0.8


# --- grid search


def test_smote_fills_every_class_between_its_neighbours(blobs):
    features, target, _ = blobs
    more, labels = oversample(features, target, neighbors=3, seed=1)
    assert np.bincount(labels).tolist() == [60, 60, 60]
    assert np.array_equal(more[:95], features)
    rare, added = features[target == 2], more[labels == 2]
    assert ((added >= rare.min(0) - 1e-9) & (added <= rare.max(0) + 1e-9)).all()
    assert len(np.unique(added, axis=0)) > 40  # new points, not copies
    # classes of 2 and 1 use the neighbours there are
    rows = np.concatenate([np.arange(10), [60, 61, 90]])
    more, labels = oversample(features[rows], target[rows], neighbors=3, seed=1)
    assert np.bincount(labels).tolist() == [10, 10, 10]
    assert (more[labels == 2] == features[90]).all()
    a, b = features[60:62]
    along = (more[labels == 1] - a) @ (b - a) / ((b - a) @ (b - a))
    np.testing.assert_allclose(a + along[:, None] * (b - a), more[labels == 1], atol=1e-9)


@pytest.mark.parametrize("implementation", ["hist", "exact"])
def test_the_grid_search_finds_the_best_point(blobs, implementation):
    features, target, fold = blobs
    settings = GridSearch(implementation=implementation, n_estimators=[1, 20], max_depth=[1, 3], smote_neighbors=3)
    found = search(settings, 1, features, target, fold)
    points = [tuple(grid_point(params).items()) for params in found.cv_results_["params"]]
    assert points == [(("n_estimators", n), ("max_depth", d)) for d in (1, 3) for n in (1, 20)]
    assert found.best_score_ == max(found.cv_results_["mean_test_score"])
    best = found.estimator.set_params(**found.best_params_).fit(features, target)
    assert (best.predict(features) == target).mean() > 0.95
    assert np.array_equal(without_smote(best).predict_proba(features), best.predict_proba(features))


def test_scaling_and_smote_see_only_the_training_folds(blobs):
    features, target, fold = blobs
    target = np.random.default_rng(4).permutation(target)
    settings = GridSearch(implementation="hist", n_estimators=[3], max_depth=[2], smote_neighbors=3)
    scores = []
    for number in range(5):
        held = fold == number
        scale = StandardScaler().fit(features[~held])
        model = gradient_boosting("hist", 1).set_params(max_iter=3, max_depth=2)
        model.fit(*oversample(scale.transform(features[~held]), target[~held], neighbors=3, seed=1))
        scores.append(macro_f1(target[held], model.predict(scale.transform(features[held]))))
    assert search(settings, 1, features, target, fold).best_score_ == pytest.approx(np.mean(scores))


def test_importance_is_the_loss_on_the_held_out_fold(blobs):
    features, target, fold = blobs
    features = np.column_stack([features, np.random.default_rng(3).normal(size=95)])
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(1)).fit(features, target)
    means, deviations = importance(model, features, target, fold, seed=1)
    assert means[:2].min() > 0.2
    assert abs(means[2]) < 0.1
    assert (deviations[:2] > 0).all()
    moved = np.where((fold == 0)[:, None], features, features + 1000)  # a model of the other folds fails on fold 0
    assert importance(model, moved, target, fold, seed=1)[0].max() < 0.2


# --- the stages


@pytest.fixture
def noise(tmp_path, monkeypatch):
    """A training and a test part with weak features, which both stages read."""
    rng = np.random.default_rng(0)
    parts = []
    for count in (100, 400):
        target = rng.integers(0, 2, count)
        features = 0.1 * target[:, None] + rng.normal(size=(count, 60))
        parts.append(Dataset(np.arange(count), features, target, np.arange(count) % 5, ["x"] * 60))
    monkeypatch.chdir(tmp_path)
    grid = {"n_estimators": [60], "max_depth": [1, 2], "smote_neighbors": 3}
    settings = SimpleNamespace(implementation="hist", seed=1, masks="lab", **grid)
    for name in ("stages.classical.mark", "wbc.scoring.predictions.mark"):
        monkeypatch.setattr(name, lambda *_: None)
    for each in (stage, grid_stage):
        monkeypatch.setattr(each, "read_parts", lambda *_: parts)
        monkeypatch.setattr(each, "load", lambda *_, **__: settings)
    return parts


def check_calibrated(model, predictions, parts):
    """The model's file gives the scored predictions, and their confidence is near their accuracy."""
    served, found = load_classical(model), read_predictions(predictions, "test")
    assert (served.features, served.masks) == ("v2", "lab")
    np.testing.assert_allclose(served.probabilities(parts[1].features), found.probabilities, atol=1e-12)
    np.testing.assert_allclose(served.novelty(parts[1].features), found.novelty)
    for each, target in ((found, parts[1].target), (read_predictions(predictions, "validation"), parts[0].target)):
        assert np.array_equal(each.target, target)
        accuracy = (each.probabilities.argmax(1) == target).mean()
        assert each.probabilities.max(1).mean() == pytest.approx(accuracy, abs=0.12), model
        np.testing.assert_allclose(each.probabilities.sum(1), 1)


def test_the_stage_writes_calibrated_models_and_scores_by_fold(noise):
    stage.main("v2", "0")
    folder = Path("runs/v2-0/classical")
    for name in classifiers("hist", True, 1):
        check_calibrated(folder / f"{name}.skops", folder / f"{name}.npz", noise)
    scores = pd.read_csv(folder / "folds.csv")
    found, held = read_predictions(folder / "lda.npz", "validation"), noise[0].fold == 1
    f1 = macro_f1(noise[0].target[held], found.probabilities[held].argmax(1))
    assert scores[scores["classifier"] == "lda"]["f1"].tolist()[1] == pytest.approx(f1, abs=1e-6)


def test_the_grid_search_stage_writes_a_calibrated_model_without_smote(noise):
    grid_stage.main("0")
    folder, train = Path("runs/v2-0/gridsearch"), noise[0]
    check_calibrated(folder / "gridsearch.skops", folder / "predictions.npz", noise)
    assert list(load_classical(folder / "gridsearch.skops").pipeline.named_steps) == ["scale", "boost"]
    predicted = read_predictions(folder / "predictions.npz", "validation").probabilities.argmax(1)
    folds = [train.fold == number for number in range(5)]
    f1 = np.mean([macro_f1(train.target[i], predicted[i]) for i in folds])
    assert json.loads(Path("runs/v2-0/gridsearch.json").read_text())["val_f1"] == pytest.approx(f1, abs=1e-6)
    tested = read_predictions(folder / "predictions.npz", "test").probabilities.argmax(1)
    assert pd.read_csv(folder / "submission.csv")["labels"].tolist() == [CLASSES[c] for c in tested]
