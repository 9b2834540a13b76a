"""How a model that learned in one laboratory fares on the images of another."""

import numpy as np
from sklearn.metrics import roc_auc_score

from wbc.evaluate.calibration import calibration
from wbc.evaluate.intervals import confusion_matrix, scores


def scored(target: np.ndarray, probabilities: np.ndarray, common: np.ndarray) -> dict[str, float]:
    """Scores of one part, of its images of the classes that both laboratories have.

    Args:
        target: (N,) integer targets, -1 where unknown.
        probabilities: (N, 13) calibrated probabilities. Who names a class that is not among the common ones is wrong.
        common: (C,) integer classes.

    Returns:
        `f1`, macro F1 over the common classes that the part has; `accuracy`; `ece`; `nll` in nats. Nothing if no image
        is of a common class.
    """
    both = np.isin(target, common)
    if not both.any():
        return {}
    target, probabilities = target[both], probabilities[both]
    confusion = confusion_matrix(target, probabilities.argmax(1))
    found = scores(confusion, confusion.sum(1))
    errors = calibration(target, probabilities)
    return {name: float(found[name]) for name in ("f1", "accuracy")} | {name: errors[name] for name in ("ece", "nll")}


def novelty_scores(home: np.ndarray, away: np.ndarray) -> dict[str, float]:
    """Whether distances from the training images tell the other laboratory's from those of the test part at home.

    Args:
        home: (N,) distances of the test part at home; beyond 1 an image is called unusual.
        away: (M,) of the other laboratory's images.

    Returns:
        `unusual_at_home` and `unusual`, the shares so called, and `auroc`, of 1 where all of the others' lie farther.
    """
    truth = np.repeat([0, 1], [len(home), len(away)])
    return {
        "unusual_at_home": float((home > 1).mean()),
        "unusual": float((away > 1).mean()),
        "auroc": float(roc_auc_score(truth, np.concatenate([home, away]))),
    }
