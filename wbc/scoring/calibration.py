"""Whether probabilities mean what they say: calibration errors, proper scores, and a temperature.

scikit-learn has the proper scores. Of the errors, torchmetrics knows bins of equal width only, where nine images in ten
share one bin, and netcal brings Pyro, GPyTorch and TensorBoard along: they are a few lines here.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import brier_score_loss, log_loss

from wbc.core.classes import CLASSES

BINS = 15
DRAWS = 200  # for the error that chance alone makes
LIMITS = (1e-4, 1e4)  # temperatures tried: that of AdaBoost, whose probabilities nearly agree, is 0.003


def calibration(target: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Calibration of predictions.

    Args:
        target: (N,) integer targets, all known.
        probabilities: (N, 13), each row's sum 1.
        seed: of the draws for `ece_by_chance`.

    Returns:
        `ece`, of the predicted class's probability, in bins of equally many images (Nguyen and O'Connor 2015);
        `ece_by_chance`, the mean that it would have for so many images if the probabilities were true (consistency
        resampling, Bröcker and Smith 2007); `classwise_ece`, the mean over the 13 classes of each one's own (Kull et
        al. 2019); `nll` in nats; `brier`, summed over classes: 0 to 2.
    """
    chances, classes = scaled(probabilities, 1.0), range(len(CLASSES))
    confidence, right = chances.max(1), chances.argmax(1) == target
    true = np.random.default_rng(seed).random((DRAWS, len(target))) < confidence
    return {
        "ece": _error(reliability(right, confidence)),
        "ece_by_chance": float(np.mean([_error(reliability(draw, confidence)) for draw in true])),
        "classwise_ece": float(np.mean([_error(reliability(target == c, chances[:, c])) for c in classes])),
        "nll": float(log_loss(target, chances, labels=classes)),
        "brier": float(brier_score_loss(target, chances, labels=classes)),
    }


def reliability(right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The reliability curve.

    Args:
        right: (N,) bool, whether what the confidence speaks of is so.
        confidence: (N,) probabilities; for the usual diagram, of the predicted class.

    Returns:
        (B, 3) mean confidence, share that is right and number of images, of 15 bins of equally many images (fewer bins
        where there are fewer images).
    """
    order = np.argsort(confidence, kind="stable")
    edges = np.linspace(0, len(order), min(BINS, len(order)) + 1).round().astype(int)
    images = np.diff(edges)
    sums = np.add.reduceat(np.stack([confidence[order], right[order]]).astype(float), edges[:-1], axis=1)
    return np.stack([*(sums / images), images], axis=1)


def temperature(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Temperature that makes the (N,) targets most likely under (N, 13) probabilities (Guo et al. 2017).

    It is a weight like any other: of the validation part, to be applied to the test part. Where every image is
    predicted correctly none is best, since the likelihood grows as T falls: 1, so that the probabilities stay.
    """
    if (probabilities.argmax(1) == target).all():
        return 1.0
    logs, images = _logs(probabilities), np.arange(len(target))

    def nll(log_temperature: float) -> float:  # convex in 1 / T, and nowhere flat
        return -float(log_softmax(logs / np.exp(log_temperature), axis=1)[images, target].mean())

    return float(np.exp(minimize_scalar(nll, bounds=np.log(LIMITS), method="bounded").x))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T), (N, 13) float64: the same as dividing the logits, which log p are up to a constant per image.

    It also serves the mean of several passes, which has no logits of its own.
    """
    return softmax(_logs(probabilities) / temperature, axis=1)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(float), np.finfo(np.float32).tiny))


def _error(curve: np.ndarray) -> float:
    """Mean distance of confidence and share, weighted by the number of images."""
    confidence, share, images = curve.T
    return float(np.average(np.abs(confidence - share), weights=images))
