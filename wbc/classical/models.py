"""The report's six classifiers (§3.4, Tables 3 and 4), two others, and their cross-validation."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import NamedTuple

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config
from scipy.special import log_expit, softmax
from sklearn import ensemble
from sklearn.base import ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from wbc.core.classes import CLASSES
from wbc.core.progress import Bar

ROUNDS = {"exact": "n_estimators", "hist": "max_iter"}  # name of the number of rounds, by implementation of boosting


def gradient_boosting(implementation: str, seed: int) -> ClassifierMixin:
    """`exact` is the report's GradientBoosting. `hist` grows its trees on binned features and is much faster.

    Both run 100 rounds by default. Only the depth, 3, limits their trees, so a single image can have its own leaf.
    They differ in three ways: `hist` splits between 255 quantiles, weights images by the second derivative of the loss,
    and omits the factor (K - 1) / K for K classes in the steps of Friedman (2001).
    """
    if implementation == "exact":
        return ensemble.GradientBoostingClassifier(random_state=seed)
    return ensemble.HistGradientBoostingClassifier(
        max_iter=100, max_depth=3, max_leaf_nodes=None, min_samples_leaf=1, early_stopping=False, random_state=seed
    )


class PairwiseSVC(SVC):
    """SVC with probabilities. SVC's own are deprecated, and CalibratedClassifierCV needs several images of every class.

    The decision value of a pair of classes is half their log-odds. The probability of a class is proportional to the
    product of its probabilities in all pairs.
    """

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        values = self.decision_function(features).reshape(len(features), -1)
        if len(self.classes_) == 2:  # here scikit-learn's positive class is the second, otherwise a pair's first
            values = -values
        logs = np.zeros((len(features), len(self.classes_)))
        for value, (one, other) in zip(values.T, combinations(range(len(self.classes_)), 2), strict=True):
            logs[:, one] += log_expit(2 * value)
            logs[:, other] += log_expit(-2 * value)
        return softmax(logs, axis=1)


class SmoothedKNN(KNeighborsClassifier):
    """Nearest neighbours with one additional vote, split equally among all classes: no probability is 0."""

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        votes = self.n_neighbors * super().predict_proba(features)
        return (votes + 1 / len(self.classes_)) / (self.n_neighbors + 1)


def classifiers(implementation: str, balanced: bool, seed: int) -> dict[str, Pipeline]:
    """The report's six classifiers with scikit-learn's defaults, and two others, all unfitted.

    Each standardises its features. The covariance of `lda` is shrunk, class by class, as Ledoit and Wolf (2004) do.
    `svm_tuned` has a smoother kernel than `svm_rbf`, chosen on `v3` features of real cells (docs/results.md).

    Args:
        implementation: of gradient boosting, `hist` or `exact`.
        balanced: weight classes by inverse frequency where the report does (Table 4): the linear model, the SVMs
            and the forest.
        seed: of the forest and of both boosting methods.
    """
    weight = "balanced" if balanced else None
    models = {
        "logistic_regression": LogisticRegression(class_weight=weight, max_iter=2000),
        "knn": SmoothedKNN(),
        "svm_rbf": PairwiseSVC(class_weight=weight, decision_function_shape="ovo"),
        "random_forest": ensemble.RandomForestClassifier(class_weight=weight, random_state=seed),
        "adaboost": ensemble.AdaBoostClassifier(random_state=seed),
        "gradient_boosting": gradient_boosting(implementation, seed),
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        "svm_tuned": PairwiseSVC(C=30, gamma=0.002, class_weight=weight, decision_function_shape="ovo"),
    }
    return {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}


class CrossValidation(NamedTuple):
    """The result of cross-validating one model."""

    out_of_fold: np.ndarray  # (N, 13) float64 probabilities of each image, by the model fitted on the other folds
    model: Pipeline  # fitted on all folds


def cross_validate(
    models: Mapping[str, Pipeline], features: np.ndarray, target: np.ndarray, fold: np.ndarray
) -> dict[str, CrossValidation]:
    """Cross-validate models, and fit each on all folds.

    Args:
        models: unfitted, by name.
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64.
    """
    folds = [fold == number for number in np.unique(fold)]
    jobs = [(model, held) for model in models.values() for held in (*folds, None)]
    # At least two processes, on one core too: a model that was pickled on its way shares other objects within itself
    # than one that was not, so its file would have other bytes
    processes = max(2, cpu_count())
    with single_threaded_fits():
        done = iter(Parallel(processes)(delayed(_fit)(model, features, target, held) for model, held in jobs))
    results = {}
    for name in models:
        out_of_fold = np.empty((len(target), len(CLASSES)))
        for held in folds:
            out_of_fold[held] = next(done)
        results[name] = CrossValidation(out_of_fold, next(done))
    return results


def _fit(model: Pipeline, features: np.ndarray, target: np.ndarray, held: np.ndarray | None) -> np.ndarray | Pipeline:
    """The model fitted on everything or, if a fold is held out, only its probabilities there: a forest is large."""
    if held is None:
        return clone(model).fit(features, target)
    return probabilities(clone(model).fit(features[~held], target[~held]), features[held])


def probabilities(model: ClassifierMixin, features: np.ndarray) -> np.ndarray:
    """(N, 13) float64 probabilities of (N, D) features by a fitted classifier, 0 for classes not in its training.

    A classifier without `predict_proba` gives probability 1 to the class that it predicts.
    """
    found = np.zeros((len(features), len(CLASSES)))
    if len(features) and hasattr(model, "predict_proba"):
        found[:, model.classes_] = model.predict_proba(features)
    elif len(features):
        found[np.arange(len(features)), model.predict(features)] = 1.0
    return found


@contextmanager
def single_threaded_fits() -> Iterator[None]:
    """Let joblib fit models on all cores with one thread each: results do not depend on the number of cores."""
    bar = Bar("fits", disable=sys.stderr.isatty())  # on a terminal joblib prints its own progress
    with parallel_config("loky", inner_max_num_threads=1, verbose=5), threadpool_limits(1), bar:
        yield
