"""Features joined with targets, parts and folds."""

from typing import NamedTuple

import numpy as np

from wbc.config.files import STUDY
from wbc.core.errors import UserError
from wbc.core.tables import read_features, read_manifest, read_split, targets

FEWEST = 5  # images to train a classifier on: the nearest neighbours that the one of that name asks for


class Dataset(NamedTuple):
    """N cells of one part."""

    ids: np.ndarray  # (N,) str
    features: np.ndarray  # (N, D) float64
    target: np.ndarray  # (N,) int64, -1 where unlabelled
    fold: np.ndarray  # (N,) int64, -1 in the test part
    names: list[str]  # of the D features


def training(features: str, repeat: int) -> Dataset:
    """A repeat's training part of a feature set such as `v1`.

    Raises:
        UserError: it is too small to be cross-validated; or see `wbc.core.tables.check`.
    """
    table = _part(features, repeat, test=False)
    for fold in np.unique(table.fold):
        rest = table.target[table.fold != fold]
        classes = len(np.unique(rest))
        if len(rest) < FEWEST or not 2 <= classes < len(rest):
            raise UserError(
                f"{len(table.target)} training images are too few to cross-validate: the classifiers need {FEWEST} "
                f"images and 2 classes, not one for each image, outside of every fold; outside of fold {fold} are "
                f"{len(rest)} and {classes}"
            )
    return table


def test(features: str, repeat: int) -> Dataset:
    """Its test part, which may have no labels."""
    return _part(features, repeat, test=True)


def _part(features: str, repeat: int, test: bool) -> Dataset:
    manifest, fold = read_manifest(), read_split("folds", repeat)
    chosen = (fold < 0) == test
    values = read_features(STUDY, features)
    return Dataset(
        manifest["id"].to_numpy()[chosen],
        values.to_numpy()[chosen],
        targets(manifest)[chosen],
        fold[chosen],
        list(values.columns),
    )
