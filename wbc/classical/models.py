"""The report's six classifiers and their cross-validation (§3.4, Tables 3 and 4)."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from joblib import parallel_config
from sklearn.base import ClassifierMixin
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits


def gradient_boosting(implementation: str, seed: int) -> ClassifierMixin:
    """`exact` is the report's GradientBoosting; `hist` grows the same trees on binned features, far faster.

    Depth alone limits the trees of either, and no round is skipped: 100 rounds of depth 3 unless set otherwise.
    """
    if implementation == "exact":
        return GradientBoostingClassifier(random_state=seed)
    return HistGradientBoostingClassifier(
        max_iter=100, max_depth=3, max_leaf_nodes=None, early_stopping=False, random_state=seed
    )


def rounds_name(implementation: str) -> str:
    """What scikit-learn calls the number of boosting rounds of `gradient_boosting(implementation)`."""
    return "n_estimators" if implementation == "exact" else "max_iter"


def classifiers(implementation: str, balanced: bool, seed: int) -> dict[str, ClassifierMixin]:
    """The six classifiers with scikit-learn's defaults, unfitted.

    Args:
        implementation: of gradient boosting, `hist` or `exact`.
        balanced: weight classes by inverse frequency where the report does (Table 4): the linear model, the SVM
            and the forest.
        seed: of those that draw.
    """
    weight = "balanced" if balanced else None
    return {
        "logistic_regression": LogisticRegression(class_weight=weight, max_iter=2000),
        "knn": KNeighborsClassifier(),
        "svm_rbf": SVC(class_weight=weight),
        "random_forest": RandomForestClassifier(class_weight=weight, random_state=seed),
        "adaboost": AdaBoostClassifier(random_state=seed),
        "gradient_boosting": gradient_boosting(implementation, seed),
    }


def cross_validate(
    classifier: ClassifierMixin, features: np.ndarray, target: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Predict every sample by the classifier trained on the other folds, after standardising on those folds.

    Args:
        classifier: unfitted.
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64.

    Returns:
        (N,) int64 predictions.
    """
    model = make_pipeline(StandardScaler(), classifier)
    with single_threaded_fits():
        return cross_val_predict(model, features, target, cv=PredefinedSplit(fold), n_jobs=-1)


@contextmanager
def single_threaded_fits() -> Iterator[None]:
    """Fits run beside each other on all cores, one thread each, so that no result depends on how many there are."""
    with parallel_config(backend="loky", inner_max_num_threads=1), threadpool_limits(1):
        yield
