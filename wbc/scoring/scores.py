"""Scores of a classification, all computed from its confusion matrix."""

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES

RARE = 5  # with fewer test images than this, the F1 of a class is mostly chance


def confusion_matrix(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(13, 13) counts, true class by predicted class, of (N,) integer targets, all known, and predictions."""
    shape = (len(CLASSES), len(CLASSES))
    return np.bincount(np.ravel_multi_index((target, predicted), shape), minlength=np.prod(shape)).reshape(shape)


def class_f1(confusion: np.ndarray) -> np.ndarray:
    """(..., 13) F1 of each class (report, eq. 1) of (..., 13, 13) confusion matrices, 0 where it is undefined."""
    images = confusion.sum(-1) + confusion.sum(-2)
    return 2 * confusion.diagonal(axis1=-2, axis2=-1) / np.where(images > 0, images, 1)


def scores(confusion: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of confusion matrices over one set of classes. A new score is a line here.

    Args:
        confusion: (..., 13, 13) counts, true class by predicted class.
        images: (13,) number of images of each class in the part. Classes without images do not count.

    Returns:
        `f1`, macro F1; `accuracy`; and, where some classes are rare, `f1_common`, macro F1 without these. Each of
        shape (...).
    """
    f1, common = class_f1(confusion), images >= RARE
    found = {
        "f1": f1[..., images > 0].mean(-1),
        "accuracy": confusion.diagonal(axis1=-2, axis2=-1).sum(-1) / confusion.sum((-2, -1)),
    }
    if 0 < common.sum() < (images > 0).sum():
        found["f1_common"] = f1[..., common].mean(-1)
    return found


def macro_f1(target: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 (report, eq. 1) over the classes that occur among the (N,) integer targets."""
    confusion = confusion_matrix(target, predicted)
    return float(scores(confusion, confusion.sum(1))["f1"])


def accuracy(target: np.ndarray, predicted: np.ndarray) -> float:
    """Fraction of the (N,) integer predictions that equal their target."""
    return float(np.mean(target == predicted))


def per_class(confusion: np.ndarray) -> pd.DataFrame:
    """Recall, F1 and number of images of each class that has images, by label."""
    images = confusion.sum(1)
    recall = confusion.diagonal() / np.maximum(images, 1)
    table = pd.DataFrame({"recall": recall, "f1": class_f1(confusion), "images": images}, list(CLASSES))
    return table[images > 0]
