"""Scores of a classification, in the study's terms."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from wbc.core.classes import CLASSES


def macro_f1(target: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes (report, eq. 1) that occur among the (N,) integer targets or predictions.

    Equal to eq. 1 where all 13 occur; a class nobody has and nobody claims does not count as a failure.
    """
    return float(f1_score(target, predicted, average="macro", zero_division=0))


def accuracy(target: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the (N,) integer predictions that equal their target."""
    return float(accuracy_score(target, predicted))


SCORES = {"f1": macro_f1, "accuracy": accuracy}  # of a network's predictions of a part, as its metrics name them


def per_class(target: np.ndarray, predicted: np.ndarray) -> list[tuple[str, float, float, float, int]]:
    """Class, precision, recall, F1 and number of targets, for every class among the (N,) integer targets."""
    if not len(target):  # an unlabelled part, which scikit-learn refuses
        return []
    present = np.unique(target)
    scores = precision_recall_fscore_support(target, predicted, labels=present, zero_division=0)
    return [
        (CLASSES[c], *map(float, row[:3]), int(row[3])) for c, row in zip(present, np.transpose(scores), strict=True)
    ]


def confusion(target: np.ndarray, predicted: np.ndarray) -> list[tuple[str, str]]:
    """One (actual, predicted) pair of labels per sample: what DVC's confusion templates count, sorted by class."""
    return [(CLASSES[t], CLASSES[p]) for t, p in sorted(zip(target.tolist(), predicted.tolist(), strict=True))]
