"""Cross-validation, oversampling and the grid."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster
from imblearn.pipeline import Pipeline
from scipy.special import softmax
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.metrics import f1_score, log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from stages import classical as stage
from stages import gridsearch as grid_stage
from wbc.classical.gridsearch import importance, named, oversample, search, without_smote
from wbc.classical.model import load_classical
from wbc.classical.models import classifiers, cross_validate, probabilities
from wbc.classical.table import Dataset
from wbc.config.schema import GridSearch
from wbc.core.classes import CLASSES
from wbc.core.parallel import ClusterError
from wbc.scoring.predictions import read_predictions


@pytest.fixture
def blobs():
    """Three classes of 60, 30 and 5 cells around corners far apart, in 5 folds."""
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1, 2], [60, 30, 5])
    corners = np.array([[0, 0], [9, 0], [0, 9]])
    return corners[target] + rng.normal(size=(95, 2)), target, np.arange(95) % 5


def test_the_classifiers_are_weighted_where_the_report_says():
    plain, balanced = (
        {name: model[-1] for name, model in classifiers("hist", balanced=b, seed=1).items()} for b in (False, True)
    )
    six = ["logistic_regression", "knn", "svm_rbf", "random_forest", "adaboost", "gradient_boosting"]
    assert list(plain) == [*six, "lda"]
    weighted = {name for name, model in balanced.items() if model.get_params().get("class_weight") == "balanced"}
    assert weighted == {"logistic_regression", "svm_rbf", "random_forest"}
    assert not any(model.get_params().get("class_weight") for model in plain.values())
    assert isinstance(plain["gradient_boosting"], HistGradientBoostingClassifier)
    assert isinstance(classifiers("exact", False, 1)["gradient_boosting"][-1], GradientBoostingClassifier)


def test_shrinkage_tells_classes_apart_by_more_features_than_cells():
    """Each of 300 features says next to nothing. Unshrunk, the covariance of 60 cells has no inverse."""
    rng = np.random.default_rng(0)
    target = np.arange(1060) % 2
    features = 0.15 * target[:, None] + rng.normal(size=(1060, 300))
    model = classifiers("hist", balanced=True, seed=1)["lda"].fit(features[:60], target[:60])
    assert (model.predict(features[60:]) == target[60:]).mean() > 0.65


@pytest.mark.parametrize("kinds", [2, 4])
def test_an_svm_is_as_sure_as_it_is_right(kinds):
    """Of classes that overlap. All for the class that it names would be 7 nats for each image."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, kinds, 1000)
    features = 2.0 * np.eye(kinds)[target] + rng.normal(size=(1000, kinds))
    model = classifiers("hist", balanced=False, seed=1)["svm_rbf"][-1].fit(features[:500], target[:500])
    found, target = model.predict_proba(features[500:]), target[500:]
    assert (found.argmax(1) == model.predict(features[500:])).mean() > 0.97
    assert found.max(1).mean() == pytest.approx((found.argmax(1) == target).mean(), abs=0.1)
    exact = softmax(2.0 * features[500:], axis=1)  # Bayes: the densities are normal
    assert log_loss(target, found) < 1.25 * log_loss(target, exact)


def test_five_neighbours_make_no_class_impossible(blobs):
    features, target, _ = blobs
    model = classifiers("hist", balanced=False, seed=1)["knn"].fit(features, target)
    found = model.predict_proba(np.array([[0.0, 0.0]]))  # all of whose neighbours are of class 0
    np.testing.assert_allclose(found, [[(5 + 1 / 3) / 6, 1 / 18, 1 / 18]])


@pytest.fixture
def noise(tmp_path, monkeypatch):
    """A training and a test part, of noise in 60 features, in the place of what the stages read."""
    rng = np.random.default_rng(0)
    parts = []
    for count in (100, 400):
        target = rng.integers(0, 2, count)
        features = 0.1 * target[:, None] + rng.normal(size=(count, 60))
        parts.append(Dataset(np.arange(count), features, target, np.arange(count) % 5, ["x"] * 60))
    monkeypatch.chdir(tmp_path)
    grid = {"n_estimators": [60], "max_depth": [1, 2], "smote_neighbors": 3}
    settings = SimpleNamespace(implementation="hist", seed=1, joblib_backend="loky", masks="lab", **grid)
    for each in (stage, grid_stage):
        monkeypatch.setattr(each, "training", lambda *_: parts[0])
        monkeypatch.setattr(each, "test", lambda *_: parts[1])
        monkeypatch.setattr(each, "mark", lambda *_: None)
        monkeypatch.setattr(each, "load", lambda *_, **__: settings)
    return parts


def assert_served_as_scored(model, predictions, parts):
    """The file gives what is scored, and both are sure as often as they are right."""
    served, found = load_classical(model), read_predictions(predictions, "test")
    assert (served.features, served.masks) == ("v2", "lab")
    np.testing.assert_allclose(served.probabilities(parts[1].features), found.probabilities, atol=1e-12)
    np.testing.assert_allclose(served.novelty(parts[1].features), found.novelty)
    for each, target in ((found, parts[1].target), (read_predictions(predictions, "validation"), parts[0].target)):
        assert np.array_equal(each.target, target)
        right = (each.probabilities.argmax(1) == target).mean()
        assert each.probabilities.max(1).mean() == pytest.approx(right, abs=0.12), model
        np.testing.assert_allclose(each.probabilities.sum(1), 1)


def test_the_stage_writes_probabilities_that_mean_what_they_say(noise):
    """LDA as it is is far too sure of noise, and so is the SVM; AdaBoost is far from it."""
    stage.main("v2", "0")
    folder = Path("runs/v2-0/classical")
    for name in classifiers("hist", True, 1):
        assert_served_as_scored(folder / f"{name}.skops", folder / f"{name}.npz", noise)
    scores = pd.read_csv(folder / "folds.csv")
    found = read_predictions(folder / "lda.npz", "validation")
    held = noise[0].fold == 1
    f1 = f1_score(noise[0].target[held], found.probabilities[held].argmax(1), average="macro")
    assert scores[scores["classifier"] == "lda"]["f1"].tolist()[1] == pytest.approx(f1, abs=1e-6)


def test_the_grid_searchs_model_is_calibrated_and_kept_without_smote(noise):
    grid_stage.main("0")
    folder = Path("runs/v2-0/gridsearch")
    assert_served_as_scored(folder / "gridsearch.skops", folder / "predictions.npz", noise)
    assert list(load_classical(folder / "gridsearch.skops").pipeline.named_steps) == ["scale", "boost"]
    found, train = read_predictions(folder / "predictions.npz", "validation"), noise[0]
    folds = [train.fold == number for number in range(5)]
    each = [f1_score(train.target[i], found.probabilities[i].argmax(1), average="macro") for i in folds]
    metrics = json.loads(Path("runs/v2-0/gridsearch.json").read_text())
    assert metrics["val_f1"] == pytest.approx(np.mean(each), abs=1e-6)  # of the grid's best point
    labels = [line.split(",")[1] for line in (folder / "submission.csv").read_text().splitlines()[1:]]
    tested = read_predictions(folder / "predictions.npz", "test").probabilities.argmax(1)
    assert labels == [CLASSES[c] for c in tested]


@pytest.mark.parametrize("implementation", ["hist", "exact"])
def test_a_class_of_eight_has_leaves_of_its_own(implementation):
    """Its images lie crosswise to the other class's, where no sum of splits by one feature each parts them."""
    features = np.repeat([[0, 0], [1, 1], [0, 1], [1, 0]], [5, 3, 60, 60], axis=0)
    target = features[:, 0] == features[:, 1]
    model = classifiers(implementation, balanced=False, seed=1)["gradient_boosting"].fit(features, target)
    assert (model.predict(features) == target).all()


def predicted(classifier, features, target, fold):
    return cross_validate({"one": classifier}, features, target, fold)["one"].out_of_fold.argmax(1)


def test_every_cell_is_predicted_by_folds_that_do_not_hold_it(blobs):
    features, target, fold = blobs
    assert (predicted(KNeighborsClassifier(1), features, target, fold) == target).mean() > 0.95
    # labels unrelated to the features: a model that had seen the cell itself would be right every time
    noise = np.random.default_rng(1).permutation(target)
    assert (predicted(KNeighborsClassifier(1), features, noise, fold) == noise).mean() < 0.7


def test_features_are_standardised_before_the_classifier(blobs):
    features, target, fold = blobs
    stretched = np.column_stack([features, 1e6 * np.random.default_rng(2).normal(size=95)])
    assert (predicted(classifiers("hist", False, 1)["knn"], stretched, target, fold) == target).mean() > 0.8


def test_the_model_that_is_kept_is_trained_on_every_fold(blobs):
    features, target, fold = blobs
    models = {"furthest": DummyClassifier(), "nearest": KNeighborsClassifier(1)}  # each cell is its own neighbour
    found = cross_validate(models, features, target, fold)
    assert np.array_equal(found["nearest"].model.predict(features), target)
    assert len(np.unique(found["furthest"].model.predict(features))) == 1  # none is taken for the other


def test_probabilities_have_a_column_for_every_class_of_the_study(blobs):
    features, target, _ = blobs
    for model in (SVC(), KNeighborsClassifier(3)):
        fitted = model.fit(features, 5 + target)
        found = probabilities(fitted, features)
        assert found.shape == (len(features), 13)
        assert np.allclose(found.sum(1), 1)
        assert np.array_equal(found.argmax(1), fitted.predict(features))
        assert not found[:, :5].any()


def test_smote_fills_every_class_between_its_neighbours(blobs):
    features, target, _ = blobs
    more, labels = oversample(features, target, neighbors=3, seed=1)
    assert np.bincount(labels).tolist() == [60, 60, 60]
    assert np.array_equal(more[:95], features)
    low, high = features[target == 2].min(0), features[target == 2].max(0)
    assert (more[labels == 2] >= low - 1e-9).all()
    assert (more[labels == 2] <= high + 1e-9).all()
    assert len(np.unique(more[labels == 2], axis=0)) > 40  # new points, not copies


def test_tiny_classes_use_the_neighbours_they_have():
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1, 2], [10, 2, 1])
    features = rng.normal(size=(13, 2))
    more, labels = oversample(features, target, neighbors=3, seed=1)
    assert np.bincount(labels).tolist() == [10, 10, 10]
    assert (more[labels == 2] == features[12]).all()  # a single cell can only be repeated
    a, b = features[target == 1]
    along = (more[labels == 1] - a) @ (b - a) / ((b - a) @ (b - a))
    np.testing.assert_allclose(a + along[:, None] * (b - a), more[labels == 1], atol=1e-9)


@pytest.mark.parametrize("implementation", ["hist", "exact"])
def test_the_grid_finds_what_works(blobs, implementation):
    features, target, fold = blobs
    settings = GridSearch(implementation=implementation, n_estimators=[1, 20], max_depth=[1, 3], smote_neighbors=3)
    found = search(settings, 1, features, target, fold)
    assert len(found.cv_results_["params"]) == 4
    assert found.n_splits_ == 5
    # neighbours are near in standardised features, not in whichever has the largest unit
    best = found.estimator.set_params(**found.best_params_).fit(features, target)
    assert list(best.named_steps) == ["scale", "smote", "boost"]
    assert [tuple(named(point).values()) for point in found.cv_results_["params"]] == [(1, 1), (20, 1), (1, 3), (20, 3)]
    assert found.best_score_ == max(found.cv_results_["mean_test_score"])
    assert (best.predict(features) == target).mean() > 0.95
    assert np.array_equal(without_smote(best).predict_proba(features), best.predict_proba(features))


def test_only_the_features_that_matter_lose_anything_when_shuffled(blobs):
    features, target, fold = blobs
    rng = np.random.default_rng(3)
    features = np.column_stack([features, rng.normal(size=95)])
    model = Pipeline([("scale", StandardScaler()), ("knn", KNeighborsClassifier(1))]).fit(features, target)
    moved = np.where(
        (fold == 0)[:, None], features, features + 1000
    )  # who learned from the other folds is lost in fold 0
    means, deviations = importance(model, features, target, fold, seed=1)
    assert (means[:2] > 0.2).all()
    assert abs(means[2]) < 0.1
    assert (deviations[:2] > 0).all()
    assert importance(model, moved, target, fold, seed=1)[0].max() < 0.2


def test_a_dask_cluster_gives_the_same_results(blobs, monkeypatch):
    features, target, fold = blobs
    target = np.random.default_rng(4).permutation(target)  # hard enough for the last bits to show
    every = classifiers("hist", balanced=True, seed=1)
    models = {name: every[name] for name in ("gradient_boosting", "lda")}
    settings = GridSearch(implementation="hist", n_estimators=[3], max_depth=[2], smote_neighbors=3)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        there = cross_validate(models, features, target, fold, "dask")
        found = search(settings, 1, features, target, fold, "dask")
    for name, validated in cross_validate(models, features, target, fold).items():
        assert np.array_equal(there[name].out_of_fold, validated.out_of_fold)
        assert np.array_equal(*(each.model.predict_proba(features) for each in (there[name], validated)))
    here = search(settings, 1, features, target, fold)
    assert found.cv_results_["mean_test_score"].tolist() == here.cv_results_["mean_test_score"].tolist()
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "nonsense")
    with pytest.raises(ClusterError, match=r"no scheduler at 'nonsense'"):
        cross_validate(models, features, target, fold, "dask")


def test_smote_never_sees_the_held_out_fold(blobs, monkeypatch):
    """Fold 4 holds cells 1000 away: any synthetic cell near them would be a leak."""
    features, target, fold = blobs
    features = np.where(fold[:, None] == 4, features + 1000, features)
    seen = []

    class Spy(DummyClassifier):
        def fit(self, x, y):
            seen.append(x)
            return super().fit(x, y)

    monkeypatch.setattr("wbc.classical.gridsearch.gradient_boosting", lambda *a: Spy())
    monkeypatch.setattr("wbc.classical.gridsearch.rounds_name", lambda *a: "random_state")
    monkeypatch.setattr("wbc.classical.gridsearch.StandardScaler", lambda: "passthrough")
    settings = GridSearch(implementation="hist", n_estimators=[1], max_depth=[1], smote_neighbors=3)
    monkeypatch.setattr(
        "wbc.classical.gridsearch.GridSearchCV",
        lambda pipeline, grid, scoring, cv, n_jobs, refit: _Plain(pipeline, cv),
    )
    search(settings, 1, features, target, fold)
    assert [bool((x > 500).any()) for x in seen] == [True, True, True, True, False]


class _Plain:
    """GridSearchCV of one point, in this process, so that the spy's notes survive."""

    def __init__(self, pipeline, cv):
        self.pipeline, self.cv = pipeline, cv

    def fit(self, x, y):
        for train, _ in self.cv.split():
            self.pipeline.fit(x[train], y[train])
        return self
