"""Files of predictions: one for each model and repeat, with all parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbc.core.io import write_npz
from wbc.core.tables import mark, write_submission
from wbc.scoring.scores import macro_f1


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


def write_run(folder: Path, parts: Mapping[str, Predictions], *sets: str) -> dict[str, float]:
    """Write a run's predictions and submission, marked with their image sets; return macro F1 by labelled part.

    Submission and scores are with TTA if the model has it.
    """
    write_predictions(folder / "predictions.npz", parts)
    predicted = {name: (it.probabilities if it.tta is None else it.tta).argmax(1) for name, it in parts.items()}
    if "test" in parts:
        write_submission(folder / "submission.csv", parts["test"].ids, predicted["test"])
    mark(folder, *sets)
    return {name: macro_f1(it.target, predicted[name]) for name, it in parts.items() if (it.target >= 0).all()}


def read_predictions(path: str | Path, part: str) -> Predictions | None:
    """Read the predictions of one part; None where the file has none."""
    with np.load(path) as stored:
        if f"{part}/ids" not in stored:
            return None
        keys = {name: f"{part}/{name}" for name in Predictions._fields}
        return Predictions(**{name: stored[key] for name, key in keys.items() if key in stored})
