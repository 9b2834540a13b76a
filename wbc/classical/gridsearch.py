"""SMOTE inside a cross-validated grid of gradient boosting (report §3.3 and §4.4)."""

import numpy as np
from imblearn import FunctionSampler
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline
from sklearn import pipeline as steps
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from wbc.classical.models import gradient_boosting, rounds_name, single_threaded_fits
from wbc.config.schema import GridSearch

SHUFFLES = 5  # of each feature


def oversample(features: np.ndarray, target: np.ndarray, neighbors: int, seed: int):
    """Bring every class to the largest one's size by SMOTE (Chawla et al. 2002).

    A class of n ≤ `neighbors` images interpolates between the n - 1 others it has; a single image is repeated.

    Args:
        features: (N, D) float.
        target: (N,) int64 classes.
        neighbors: k of SMOTE.
        seed: of the interpolation.

    Returns:
        (M, D) features and (M,) targets, the given ones first.
    """
    classes, counts = np.unique(target, return_counts=True)
    usable = np.minimum(neighbors, counts - 1)
    for k in np.unique(usable):
        wanted = {int(c): int(counts.max()) for c in classes[usable == k]}
        if k == 0:
            sampler = RandomOverSampler(sampling_strategy=wanted, random_state=seed)
        else:
            sampler = SMOTE(sampling_strategy=wanted, k_neighbors=int(k), random_state=seed)
        features, target = sampler.fit_resample(features, target)
    return features, target


def search(
    settings: GridSearch,
    seed: int,
    features: np.ndarray,
    target: np.ndarray,
    fold: np.ndarray,
) -> GridSearchCV:
    """Cross-validate the grid by macro F1.

    SMOTE is a step of the pipeline, so it sees the training folds only (§3.3).

    Args:
        settings: the `grid` group.
        seed: of SMOTE and of the boosting.
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64 cross-validation folds.

    Returns:
        The search; its best point is not fitted again.
    """
    smote = FunctionSampler(func=oversample, kw_args={"neighbors": settings.smote_neighbors, "seed": seed})
    pipeline = Pipeline(
        [("scale", StandardScaler()), ("smote", smote), ("boost", gradient_boosting(settings.implementation, seed))]
    )
    grid = {
        f"boost__{rounds_name(settings.implementation)}": settings.n_estimators,
        "boost__max_depth": settings.max_depth,
    }
    with single_threaded_fits():
        found = GridSearchCV(pipeline, grid, scoring="f1_macro", cv=PredefinedSplit(fold), n_jobs=-1, refit=False)
        return found.fit(features, target)


def without_smote(model: Pipeline) -> steps.Pipeline:
    """A fitted pipeline without its SMOTE, which acts in training alone."""
    return steps.Pipeline([(name, step) for name, step in model.steps if name != "smote"])


def importance(
    model: Pipeline, features: np.ndarray, target: np.ndarray, fold: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """How much macro F1 is lost when one feature is shuffled (Breiman 2001), on a fold the model has not seen.

    Args:
        model: the search's best, which is fitted on all folds but the first.
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64 cross-validation folds.
        seed: of the shuffling.

    Returns:
        (D,) mean loss over `SHUFFLES` shufflings and (D,) standard deviation.
    """
    held = fold == fold.min()
    fitted = clone(model).fit(features[~held], target[~held])
    with single_threaded_fits():
        found = permutation_importance(
            fitted, features[held], target[held], scoring="f1_macro", n_repeats=SHUFFLES, random_state=seed, n_jobs=-1
        )
    return found.importances_mean, found.importances_std


def named(params: dict[str, int]) -> dict[str, int]:
    """A point of the grid in the report's terms: `n_estimators` and `max_depth`, in that order."""
    depth = params["boost__max_depth"]
    (rounds,) = (value for key, value in params.items() if key != "boost__max_depth")
    return {"n_estimators": rounds, "max_depth": depth}
