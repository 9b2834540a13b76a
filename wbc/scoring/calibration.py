"""Calibration of probabilities: errors, proper scores, and the temperature that corrects them."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import brier_score_loss, log_loss

from wbc.core.classes import CLASSES

BINS = 15
DRAWS = 200  # for the calibration error that chance alone causes
LIMITS = (1e-4, 1e4)  # range of temperatures; AdaBoost, whose probabilities are nearly equal, needs 0.003


def calibration(target: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Calibration errors and proper scores of (N, 13) probabilities for (N,) integer targets, all known.

    Returns:
        `ece`, see `calibration_error`; `ece_by_chance`, its mean if the probabilities were true (consistency
        resampling, Bröcker and Smith 2007); `classwise_ece`, the mean over the 13 classes of the error of
        each class's probability (Kull et al. 2019); `nll` in nats; `brier`, summed over classes: 0 to 2.
    """
    ece, classes = calibration_error(target, probabilities), range(len(CLASSES))
    probabilities = apply_temperature(probabilities, 1.0)  # rows sum to 1 in float64
    confidence = probabilities.max(1)
    drawn = np.random.default_rng(0).random((DRAWS, len(target))) < confidence
    return {
        "ece": ece,
        "ece_by_chance": float(np.mean([_error(reliability(correct, confidence)) for correct in drawn])),
        "classwise_ece": float(np.mean([_error(reliability(target == c, probabilities[:, c])) for c in classes])),
        "nll": float(log_loss(target, probabilities, labels=classes)),
        "brier": float(brier_score_loss(target, probabilities, labels=classes)),
    }


def calibration_error(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the predicted class, in bins of equally many images (Nguyen and O'Connor 2015)."""
    probabilities = apply_temperature(probabilities, 1.0)
    return _error(reliability(probabilities.argmax(1) == target, probabilities.max(1)))


def reliability(correct: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Reliability curve of (N,) booleans and their (N,) predicted probabilities.

    Returns:
        (B, 3) mean confidence, fraction that is correct and number of images, in 15 bins of equally many images; fewer
        bins where there are fewer images.
    """
    order = np.argsort(confidence, kind="stable")
    edges = np.linspace(0, len(order), min(BINS, len(order)) + 1).round().astype(int)
    images = np.diff(edges)
    sums = np.add.reduceat(np.stack([confidence[order], correct[order]]).astype(float), edges[:-1], axis=1)
    return np.stack([*(sums / images), images], axis=1)


def fit_temperature(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Temperature that maximises the likelihood of (N,) targets under (N, 13) probabilities (Guo et al. 2017).

    It is 1 where every prediction is correct: the likelihood then has no maximum.
    """
    if (probabilities.argmax(1) == target).all():
        return 1.0
    logs, images = _logs(probabilities), np.arange(len(target))

    def nll(log_temperature: float) -> float:  # convex in 1 / T
        return -float(log_softmax(logs / np.exp(log_temperature), axis=1)[images, target].mean())

    return float(np.exp(minimize_scalar(nll, bounds=np.log(LIMITS), method="bounded").x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T), (N, 13) float64: what dividing the logits by T gives."""
    return softmax(_logs(probabilities) / temperature, axis=1)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(float), np.finfo(np.float32).tiny))


def _error(curve: np.ndarray) -> float:
    """Mean distance of confidence and fraction correct, weighted by the number of images."""
    confidence, correct, images = curve.T
    return float(np.average(np.abs(confidence - correct), weights=images))
