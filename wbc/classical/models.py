"""The report's six classifiers (§3.4, Tables 3 and 4), a seventh, and their cross-validation."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed, parallel_config
from scipy.special import log_expit, softmax
from sklearn.base import ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from wbc.core.classes import CLASSES
from wbc.core.progress import Bar

PROGRESS = 5  # joblib's verbosity: a line now and then with what is done and how long the rest takes


def gradient_boosting(implementation: str, seed: int) -> ClassifierMixin:
    """`exact` is the report's GradientBoosting; `hist` grows its trees on binned features, far faster.

    Depth alone limits the trees of either, so that a single image can have a leaf of its own, and no round is skipped:
    100 rounds of depth 3 unless set otherwise. What differs: `hist` splits between 255 quantiles, weighs images by the
    loss's second derivative, and takes Friedman's (2001) steps without their factor (K - 1) / K for K classes.
    """
    if implementation == "exact":
        return GradientBoostingClassifier(random_state=seed)
    return HistGradientBoostingClassifier(
        max_iter=100, max_depth=3, max_leaf_nodes=None, min_samples_leaf=1, early_stopping=False, random_state=seed
    )


def rounds_name(implementation: str) -> str:
    """What scikit-learn calls the number of boosting rounds of `gradient_boosting(implementation)`."""
    return "n_estimators" if implementation == "exact" else "max_iter"


class PairwiseSVC(SVC):
    """SVC with probabilities. SVC's own are deprecated, and CalibratedClassifierCV needs several images of every class.

    A pair's decision value is half the log-odds of its classes, and a class's probability is proportional to the
    product of those that its pairs give it.
    """

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        values = self.decision_function(features).reshape(len(features), -1)
        if len(self.classes_) == 2:  # scikit-learn's sign is that of the second class there, else of a pair's first
            values = -values
        logs = np.zeros((len(features), len(self.classes_)))
        for value, (one, other) in zip(values.T, combinations(range(len(self.classes_)), 2), strict=True):
            logs[:, one] += log_expit(2 * value)
            logs[:, other] += log_expit(-2 * value)
        return softmax(logs, axis=1)


class SmoothedKNN(KNeighborsClassifier):
    """Nearest neighbours with one vote more, shared by all classes, so that no class has probability 0."""

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        votes = self.n_neighbors * super().predict_proba(features)
        return (votes + 1 / len(self.classes_)) / (self.n_neighbors + 1)


def classifiers(implementation: str, balanced: bool, seed: int) -> dict[str, Pipeline]:
    """The report's six classifiers with scikit-learn's defaults, and linear discriminant analysis, unfitted.

    Each standardises its features. The last one's covariance is shrunk by as much as the data ask for (Ledoit and Wolf
    2004), class by class.

    Args:
        implementation: of gradient boosting, `hist` or `exact`.
        balanced: weight classes by inverse frequency where the report does (Table 4): the linear model, the SVM
            and the forest.
        seed: of those that draw.
    """
    weight = "balanced" if balanced else None
    models = {
        "logistic_regression": LogisticRegression(class_weight=weight, max_iter=2000),
        "knn": SmoothedKNN(),
        "svm_rbf": PairwiseSVC(class_weight=weight, decision_function_shape="ovo"),
        "random_forest": RandomForestClassifier(class_weight=weight, random_state=seed),
        "adaboost": AdaBoostClassifier(random_state=seed),
        "gradient_boosting": gradient_boosting(implementation, seed),
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    }
    return {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}


class Validated(NamedTuple):
    """What one cross-validated model predicts, and the model."""

    out_of_fold: np.ndarray  # (N, 13) float64, as `probabilities` has it: of each sample by the other folds' model
    model: Pipeline  # trained on all of them


def cross_validate(
    models: Mapping[str, Pipeline],
    features: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
) -> dict[str, Validated]:
    """Cross-validate models, and train each on all folds.

    Args:
        models: unfitted, by name.
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64.
    """
    folds = [fold == number for number in np.unique(fold)]
    # the same arrays for all jobs: joblib shares them between processes
    jobs = [(model, features, target, held) for model in models.values() for held in (*folds, None)]
    with single_threaded_fits():
        done = iter(Parallel(n_jobs=-1)(delayed(_trained)(*job) for job in jobs))
    validated = {}
    for name in models:
        out_of_fold = np.empty((len(target), len(CLASSES)))
        for held in folds:
            out_of_fold[held] = next(done)
        validated[name] = Validated(out_of_fold, next(done))
    return validated


def _trained(
    model: Pipeline, features: np.ndarray, target: np.ndarray, held: np.ndarray | None
) -> np.ndarray | Pipeline:
    """A model trained on everything or, where a fold is held out, what the others' model predicts for it.

    A forest may be hundreds of megabytes on its way back.
    """
    if held is None:
        return clone(model).fit(features, target)
    return probabilities(clone(model).fit(features[~held], target[~held]), features[held])


def probabilities(model: ClassifierMixin, features: np.ndarray) -> np.ndarray:
    """(N, 13) float64 probabilities that a fitted classifier gives (N, D) features, 0 for a class it was never shown.

    Of one that gives none all of it goes to the class that it names.
    """
    found = np.zeros((len(features), len(CLASSES)))
    if not len(features):
        return found
    if hasattr(model, "predict_proba"):
        found[:, model.classes_] = model.predict_proba(features)
    else:
        found[np.arange(len(features)), model.predict(features)] = 1.0
    return found


@contextmanager
def single_threaded_fits() -> Iterator[None]:
    """Joblib fits models on all cores, each with one thread, so that results do not depend on the number of cores."""
    beat = Bar("fits", disable=sys.stderr.isatty())  # on a terminal joblib prints progress itself
    with parallel_config("loky", inner_max_num_threads=1, verbose=PROGRESS), threadpool_limits(1), beat:
        yield
