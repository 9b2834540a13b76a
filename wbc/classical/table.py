"""Features with targets, parts and folds."""

from typing import NamedTuple

import numpy as np

from wbc.config.files import STUDY
from wbc.core.errors import UserError
from wbc.core.tables import read_features, read_manifest, read_split, targets

MIN_TRAIN = 5  # images: KNN's `n_neighbors`


class Dataset(NamedTuple):
    """N cells of one part."""

    ids: np.ndarray  # (N,) str
    features: np.ndarray  # (N, D) float64
    target: np.ndarray  # (N,) int64, -1 where unlabelled
    fold: np.ndarray  # (N,) int64, -1 in the test part
    names: list[str]  # of the D features


def read_training(features: str, repeat: int) -> Dataset:
    """The training part of a repeat, with a feature set such as `v1`.

    Raises:
        UserError: too few images to cross-validate, or see `wbc.core.tables.check`.
    """
    table = _read(features, repeat, test=False)
    for fold in np.unique(table.fold):
        rest = table.target[table.fold != fold]
        classes = len(np.unique(rest))
        if len(rest) < MIN_TRAIN or not 2 <= classes < len(rest):
            raise UserError(
                f"{len(table.target)} training images are too few to cross-validate: the classifiers need at least "
                f"{MIN_TRAIN} images, 2 classes, and more images than classes outside of each fold; outside of fold "
                f"{fold}: {len(rest)} images, {classes} classes"
            )
    return table


def read_test(features: str, repeat: int) -> Dataset:
    """The test part of a repeat. It may be unlabelled."""
    return _read(features, repeat, test=True)


def _read(features: str, repeat: int, test: bool) -> Dataset:
    manifest, fold = read_manifest(), read_split("folds", repeat)
    chosen = (fold < 0) == test
    values = read_features(STUDY, features)
    ids = manifest["id"].to_numpy()[chosen]
    return Dataset(ids, values.to_numpy()[chosen], targets(manifest)[chosen], fold[chosen], list(values.columns))
