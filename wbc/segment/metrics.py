"""How well a mask agrees with a drawn one."""

import numpy as np


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient 2|a∩b| / (|a|+|b|) of two boolean arrays of one shape; 1 where both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union |a∩b| / |a∪b| of two boolean arrays of one shape; 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def score(mask: np.ndarray, truth: np.ndarray, nucleus: bool = True) -> dict[str, float]:
    """Agreement of one mask with the truth.

    Args:
        mask: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus.
        truth: (H, W) uint8, likewise.
        nucleus: whether to score the nucleus: pass `name not in CELL_ONLY`. It is a property of the method, not of
            the mask, since a method that looked for a nucleus and found none must score 0 and not be excused.

    Returns:
        `cell_dice` and `cell_iou` and, with `nucleus`, `nucleus_dice` and `nucleus_iou`, each in [0, 1].
    """
    parts = {"cell": (mask > 0, truth > 0)}
    if nucleus:
        parts["nucleus"] = (mask == 2, truth == 2)
    return {f"{part}_{f.__name__}": f(*pair) for part, pair in parts.items() for f in (dice, iou)}
