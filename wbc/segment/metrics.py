"""How well a mask agrees with a drawn one, and whether it can be right at all."""

import numpy as np
from skimage.measure import label

BORDER = 0.25  # share of the image's border that a cell in the middle of it cannot touch


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
        nucleus: whether to score the nucleus: its `NUCLEUS`. It is a property of the method, not of the
            mask, since a method that looked for a nucleus and found none must score 0 and not be excused.

    Returns:
        `cell_dice` and `cell_iou` and, with `nucleus`, `nucleus_dice` and `nucleus_iou`, each in [0, 1].
    """
    parts = {"cell": (mask > 0, truth > 0)}
    if nucleus:
        parts["nucleus"] = (mask == 2, truth == 2)
    return {f"{part}_{f.__name__}": f(*pair) for part, pair in parts.items() for f in (dice, iou)}


def failed(mask: np.ndarray, nucleus: bool = True) -> bool:
    """Whether a mask is wrong on the face of it, which needs no truth.

    It is if there is no cell, if the cell covers more than a quarter of the pixels along the image's border or, with
    `nucleus`, if there is no nucleus or a part of it lies outside the cell, the largest 8-connected piece of the mask.

    Args:
        mask: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus.
        nucleus: whether the method looks for the nucleus: its `NUCLEUS`.
    """
    if not mask.any():
        return True
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if np.count_nonzero(border) > BORDER * len(border):
        return True
    pieces = label(mask > 0, connectivity=2)
    cell = np.bincount(pieces[pieces > 0]).argmax()
    return nucleus and (not (mask == 2).any() or bool((pieces[mask == 2] != cell).any()))
