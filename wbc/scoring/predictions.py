"""Files of predictions: one for each model and repeat, with all parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbc.core.io import write_npz


class Predictions(NamedTuple):
    """Predictions of a model for the N images of one part."""

    ids: np.ndarray  # (N,) str
    target: np.ndarray  # (N,) int64, -1 where unknown
    probabilities: np.ndarray  # (N, 13) float; a network's are uncalibrated
    tta: np.ndarray | None = None  # (N, 13) float, with test-time augmentation; None for models without
    novelty: np.ndarray | None = None  # (N,) float64, above 1 for novel images; None for models without


def write_predictions(path: str | Path, parts: Mapping[str, Predictions]) -> None:
    """Write the predictions of each part: `validation`, `test` or the name of an external set."""
    arrays = [(f"{part}/{name}", array) for part, found in parts.items() for name, array in found._asdict().items()]
    write_npz(path, ((name, array) for name, array in arrays if array is not None))


def read_predictions(path: str | Path, part: str) -> Predictions | None:
    """Read the predictions of one part; None where the file has none."""
    with np.load(path) as stored:
        if f"{part}/ids" not in stored:
            return None
        return Predictions(
            **{name: stored[f"{part}/{name}"] for name in Predictions._fields if f"{part}/{name}" in stored}
        )
