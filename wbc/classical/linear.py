"""A linear classifier on handcrafted features as a table of weights: what a file can hold and a person can use."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from wbc.classes import CLASSES
from wbc.evaluate.calibration import scaled
from wbc.modelfile import WeightsError, complete, read_header, write

LINEAR = (LogisticRegression, LinearDiscriminantAnalysis)  # their probabilities are a softmax of linear functions
ENTRY = "linear"  # of a file's header; a network's has it too, where the network has such a partner
TENSORS = ("linear.weights", "linear.bias")


class Linear(NamedTuple):
    """Class probabilities of a cell from its features, softmax(weights · features + bias), made milder by T."""

    features: str  # the feature set, one of `wbc.features.SETS`
    masks: str  # the segmentation it is measured on, one of `wbc.segment.METHODS`
    weights: np.ndarray  # (13, D) float64, of features as they are measured
    bias: np.ndarray  # (13,) float64; -inf for a class never shown
    temperature: float  # that calibrates

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, 13) float64 calibrated probabilities of (N, D) features, 0 for a class never shown."""
        shown = np.isfinite(self.bias)
        found = np.zeros((len(features), len(CLASSES)))
        logits = features @ self.weights[shown].T + self.bias[shown]
        found[:, shown] = scaled(softmax(logits, axis=1), self.temperature)
        return found


def linear(pipeline: Pipeline, features: str, masks: str, temperature: float) -> Linear | None:
    """A fitted pipeline of StandardScaler and classifier as one linear model, or None if the classifier is none.

    Args:
        pipeline: its classes are places in `CLASSES`.
        features: the feature set.
        masks: the segmentation it was measured on.
        temperature: that calibrates what the pipeline says.
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
    return Linear(features, masks, weights, bias, temperature)


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
    return {ENTRY: entry}, dict(zip(TENSORS, (model.weights, model.bias), strict=True))


def unpacked(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Linear:
    """The linear model of which `packed` says this, among others."""
    weights, bias = (tensors[name] for name in TENSORS)
    entry = header[ENTRY]
    return Linear(entry["features"], entry["masks"], weights, bias, entry["temperature"])
