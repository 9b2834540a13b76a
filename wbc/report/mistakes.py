"""Which images to look at."""

from collections.abc import Sequence

import numpy as np

from wbc.core.classes import CLASSES

SHOWN = 30  # of a class in one part, so that the report's page stays under 5 MB
SIZE = 64  # pixels a side of their pictures


def hardest(target: np.ndarray, predicted: Sequence[np.ndarray]) -> np.ndarray:
    """Places of the images that most rows get wrong, at least one of them: `SHOWN` of each class at most, in order.

    Args:
        target: (N,) integer targets, all known.
        predicted: of each row (N,) integer predictions.

    Returns:
        (M,) int64.
    """
    wrong = sum((each != target for each in predicted), np.zeros(len(target), int))
    order = np.argsort(-wrong, kind="stable")
    order = order[wrong[order] > 0]
    return np.sort(np.concatenate([order[target[order] == label][:SHOWN] for label in range(len(CLASSES))]))
