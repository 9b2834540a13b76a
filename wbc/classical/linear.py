"""A linear classifier on handcrafted features as a table of weights: what a file can hold and a person can use."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from wbc.core.classes import CLASSES
from wbc.core.modelfile import WeightsError, complete, read_header, write
from wbc.scoring.calibration import scaled
from wbc.scoring.novelty import UNUSUAL, Reference, gaussians

LINEAR = (LogisticRegression, LinearDiscriminantAnalysis)  # their probabilities are a softmax of linear functions
ENTRY = "linear"  # of a file's header; a network's has it too, where the network has such a partner
TENSORS = ("linear.weights", "linear.bias", "linear.means", "linear.precision")


class Linear(NamedTuple):
    """Class probabilities of a cell from its features, softmax(weights · features + bias), made milder by T."""

    features: str  # the feature set, one of `wbc.features.SETS`
    masks: str  # the segmentation it is measured on, one of `wbc.segment.METHODS`
    weights: np.ndarray  # (13, D) float64, of features as they are measured
    bias: np.ndarray  # (13,) float64; -inf for a class never shown
    temperature: float  # that calibrates
    reference: Reference | None = None  # where the training's features lie; None in older files

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, 13) float64 calibrated probabilities of (N, D) features, 0 for a class never shown."""
        shown = np.isfinite(self.bias)
        found = np.zeros((len(features), len(CLASSES)))
        logits = features @ self.weights[shown].T + self.bias[shown]
        found[:, shown] = scaled(softmax(logits, axis=1), self.temperature)
        return found


def reference(features: np.ndarray, target: np.ndarray, fold: np.ndarray) -> Reference:
    """Where the cells lie that a model learned from, and when to call one unusual.

    Each feature is measured in its own standard deviations, so that none outweighs others by its unit alone. The
    threshold is the distance from those of the other folds that a share `UNUSUAL` of the cells does not reach.

    Args:
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64.
    """
    scale = np.maximum(features.std(0), np.finfo(np.float32).tiny)

    def found(chosen: np.ndarray) -> Reference:
        means, precision = gaussians(features[chosen] / scale, target[chosen])
        return Reference(means * scale, precision / np.outer(scale, scale), 0.0)

    distances = [found(fold != held).distance(features[fold == held]) for held in np.unique(fold)]
    return found(fold == fold)._replace(threshold=float(np.quantile(np.concatenate(distances), UNUSUAL)))


def linear(
    pipeline: Pipeline, features: str, masks: str, temperature: float, known: Reference | None = None
) -> Linear | None:
    """A fitted pipeline of StandardScaler and classifier as one linear model, or None if the classifier is none.

    Args:
        pipeline: its classes are places in `CLASSES`.
        features: the feature set.
        masks: the segmentation it was measured on.
        temperature: that calibrates what the pipeline says.
        known: as `reference` returns it.
    """
    scaler, classifier = pipeline[0], pipeline[-1]
    if not isinstance(classifier, LINEAR):
        return None
    slopes, offsets, shown = classifier.coef_, classifier.intercept_, classifier.classes_
    if len(shown) == 2:  # scikit-learn keeps one function, of the second class against the first
        slopes, offsets = (np.concatenate([np.zeros_like(values), values]) for values in (slopes, offsets))
    weights, bias = np.zeros((len(CLASSES), slopes.shape[1])), np.full(len(CLASSES), -np.inf)
    weights[shown] = slopes / scaler.scale_
    bias[shown] = offsets - weights[shown] @ scaler.mean_
    return Linear(features, masks, weights, bias, temperature, known)


def save_linear(path: str | Path, model: Linear) -> None:
    """Write a linear model into a file of its own."""
    write(path, *packed(model))


def load_linear(path: str | Path) -> Linear:
    """What `save_linear` wrote.

    Raises:
        WeightsError: as `read_header`, or the file holds no linear model.
    """
    header = read_header(path)
    if ENTRY not in header:
        raise WeightsError(f"{path}: a network, not a linear model")
    with complete(path):
        return unpacked(header, load_file(path))


def packed(model: Linear) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a file's header and its tensors say of a linear model."""
    entry = {"features": model.features, "masks": model.masks, "temperature": model.temperature}
    tensors = [model.weights, model.bias]
    if known := model.reference:
        entry["threshold"] = known.threshold
        tensors += [known.means, known.precision]
    return {ENTRY: entry}, dict(zip(TENSORS, tensors, strict=False))


def unpacked(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Linear:
    """The linear model of which `packed` says this, among others."""
    entry, known = header[ENTRY], None
    if "threshold" in entry:
        known = Reference(*(tensors[name] for name in TENSORS[2:]), entry["threshold"])
    weights, bias = (tensors[name] for name in TENSORS[:2])
    return Linear(entry["features"], entry["masks"], weights, bias, entry["temperature"], known)
