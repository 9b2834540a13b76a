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


def read_parts(features: str, repeat: int) -> tuple[Dataset, Dataset]:
    """The training and the test part of a repeat, with a feature set such as `v1`. The test part may be empty.

    Raises:
        UserError: too few training images to cross-validate, or see `wbc.core.tables.check`.
    """
    manifest, fold, values = read_manifest(), read_split("folds", repeat), read_features(STUDY, features)
    columns = manifest["id"].to_numpy(), values.to_numpy(), targets(manifest), fold
    train, test = (Dataset(*(each[part] for each in columns), list(values.columns)) for part in (fold >= 0, fold < 0))
    for held in np.unique(train.fold):
        rest = train.target[train.fold != held]
        classes = len(np.unique(rest))
        if len(rest) < MIN_TRAIN or not 2 <= classes < len(rest):
            raise UserError(
                f"{len(train.target)} training images are too few to cross-validate: the classifiers need at least "
                f"{MIN_TRAIN} images, 2 classes, and more images than classes outside of each fold; outside of fold "
                f"{held}: {len(rest)} images, {classes} classes"
            )
    return train, test
