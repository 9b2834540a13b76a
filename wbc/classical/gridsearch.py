"""Grid search of gradient boosting with SMOTE inside the cross-validation (report §3.3 and §4.4)."""

import numpy as np
from imblearn import FunctionSampler
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline
from sklearn import pipeline as sklearn_pipeline
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from wbc.classical.models import ROUNDS, gradient_boosting, single_threaded_fits
from wbc.config.schema import GridSearch
from wbc.scoring.scores import macro_f1

SCORER = make_scorer(macro_f1)


def oversample(features: np.ndarray, target: np.ndarray, neighbors: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Oversample every class to the size of the largest by SMOTE (Chawla et al. 2002).

    A class of n ≤ `neighbors` images uses its n - 1 neighbours. A single image is repeated.

    Args:
        features: (N, D) float.
        target: (N,) int64 classes.
        neighbors: k of SMOTE.
        seed: of the interpolation.

    Returns:
        (M, D) features and (M,) targets. The first N are the given ones.
    """
    classes, counts = np.unique(target, return_counts=True)
    usable = np.minimum(neighbors, counts - 1)
    for k in np.unique(usable).tolist():
        sizes = {int(c): int(counts.max()) for c in classes[usable == k]}
        sampler = SMOTE(k_neighbors=k) if k else RandomOverSampler()
        sampler.set_params(sampling_strategy=sizes, random_state=seed)
        features, target = sampler.fit_resample(features, target)
    return features, target


def search(settings: GridSearch, seed: int, features: np.ndarray, target: np.ndarray, fold: np.ndarray) -> GridSearchCV:
    """Cross-validate the grid by macro F1, without refitting the best point.

    SMOTE is a step of the pipeline, so it resamples the training folds only (§3.3).

    Args:
        settings: the `grid` group.
        seed: of SMOTE and of the boosting.
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64 cross-validation folds.
    """
    smote = FunctionSampler(func=oversample, kw_args={"neighbors": settings.smote_neighbors, "seed": seed})
    boost = gradient_boosting(settings.implementation, seed)
    pipeline = Pipeline([("scale", StandardScaler()), ("smote", smote), ("boost", boost)])
    rounds = f"boost__{ROUNDS[settings.implementation]}"
    grid = {rounds: settings.n_estimators, "boost__max_depth": settings.max_depth}
    with single_threaded_fits():
        found = GridSearchCV(pipeline, grid, scoring=SCORER, cv=PredefinedSplit(fold), n_jobs=-1, refit=False)
        return found.fit(features, target)


def grid_point(params: dict[str, int]) -> dict[str, int]:
    """`n_estimators` and `max_depth` of a point of the searched grid, whose parameters scikit-learn sorts by name."""
    depth, rounds = params.values()
    return {"n_estimators": rounds, "max_depth": depth}


def without_smote(model: Pipeline) -> sklearn_pipeline.Pipeline:
    """A fitted pipeline without SMOTE, which acts only in training."""
    return sklearn_pipeline.Pipeline([(name, step) for name, step in model.steps if name != "smote"])


def importance(
    model: Pipeline, features: np.ndarray, target: np.ndarray, fold: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Permutation importance (Breiman 2001): the macro F1 lost on the first fold when one feature is shuffled.

    `model`, the best pipeline of the search, is fitted on the other folds. The data are those of `search`.

    Returns:
        (D,) mean and (D,) standard deviation over 5 shuffles.
    """
    held = fold == fold.min()
    fitted = clone(model).fit(features[~held], target[~held])
    with single_threaded_fits():
        found = permutation_importance(
            fitted, features[held], target[held], scoring=SCORER, n_repeats=5, random_state=seed, n_jobs=-1
        )
    return found.importances_mean, found.importances_std
