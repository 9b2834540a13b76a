"""Agreement of a mask with the true one, and a check that needs no true mask."""

import numpy as np
from skimage.measure import label

BORDER = 0.25  # largest fraction of the image's border that a cell in the middle can touch


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient 2|a∩b| / (|a|+|b|) of two boolean arrays of one shape; 1 if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union |a∩b| / |a∪b| of two boolean arrays of one shape; 1 if both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def score(mask: np.ndarray, truth: np.ndarray, nucleus: bool = True) -> dict[str, float]:
    """Agreement of a mask with the truth, both (H, W) uint8: 0 background, 1 cytoplasm, 2 nucleus.

    Returns `cell_dice` and `cell_iou` and, with `nucleus`, `nucleus_dice` and `nucleus_iou`, each in [0, 1]. `nucleus`
    is the `NUCLEUS` of the method, not a property of the mask: a nucleus that was not found scores 0.
    """
    parts = {"cell": (mask > 0, truth > 0)}
    if nucleus:
        parts["nucleus"] = (mask == 2, truth == 2)
    return {f"{part}_{f.__name__}": f(*pair) for part, pair in parts.items() for f in (dice, iou)}


def failed(mask: np.ndarray, nucleus: bool = True) -> bool:
    """Whether a (H, W) uint8 mask (0 background, 1 cytoplasm, 2 nucleus) cannot be right.

    It has no cell, or one that covers more than `BORDER` of the pixels along the image's border. With `nucleus`, the
    `NUCLEUS` of the method, also if the nucleus is missing or partly outside the largest 8-connected component.
    """
    if not mask.any():
        return True
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if np.count_nonzero(border) > BORDER * len(border):
        return True
    components = label(mask > 0, connectivity=2)
    cell = np.bincount(components[components > 0]).argmax()
    return nucleus and (not (mask == 2).any() or bool((components[mask == 2] != cell).any()))
