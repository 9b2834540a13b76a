"""The model of any file, a network, a linear model or both, and what it says of images."""

from pathlib import Path

import numpy as np

from wbc.classical.linear import Linear, load_linear
from wbc.config import TTA
from wbc.core.classes import CLASSES
from wbc.core.modelfile import WeightsError, read_header
from wbc.features import SETS, feature_set
from wbc.network.model import PLAIN, Trained, load_model
from wbc.network.pixels import Pixels
from wbc.scoring.calibration import scaled
from wbc.segment import METHODS


def load(path: str | Path) -> Trained | Linear:
    """The model of any file: a network, perhaps with a linear model as its partner, or a linear model alone.

    Raises:
        WeightsError: as `load_model` and `load_linear`, or nothing here measures the features that it takes.
    """
    model = load_model(path) if "settings" in read_header(path) else load_linear(path)
    linear = model if isinstance(model, Linear) else model.linear
    if linear:
        known = linear.features in SETS and linear.masks in METHODS
        count = len(feature_set(linear.features).NAMES) if known else None
        if linear.weights.shape != (len(CLASSES), count):
            wanted = f"{linear.weights.shape[1]} features of the set {linear.features} on {linear.masks} masks"
            raise WeightsError(f"{path}: wants {wanted}, which this version does not measure")
    return model


def parts(model: Trained | Linear) -> tuple[Trained | None, Linear | None]:
    """The network and the linear model in it, of which there may be one alone."""
    return (None, model) if isinstance(model, Linear) else (model, model.linear)


def probabilities(
    model: Trained | Linear, pixels: Pixels | None, features: np.ndarray | None, tta: TTA = PLAIN
) -> np.ndarray:
    """(N, 13) float64 calibrated probabilities of N images.

    Args:
        model: a network, perhaps with a linear model as its partner, or a linear model alone.
        pixels: the images as the network takes them; of no account where there is none.
        features: (N, D) float64 as the linear model takes them; likewise.
        tta: test-time augmentation, the network's.
    """
    network, linear = parts(model)
    share = network.share if network else 1.0
    found = np.zeros((len(pixels if network else features), len(CLASSES)))
    if network:
        found += (1 - share) * scaled(network.probabilities(pixels, tta).numpy(), network.temperature)
    if linear:
        found += share * linear.probabilities(features)
    return found


def novelty(model: Trained | Linear, pixels: Pixels | None, features: np.ndarray | None) -> np.ndarray | None:
    """(N,) float64: how far N images lie from the training's, beyond 1 unusually far; None where the model cannot tell.

    Of a network and its partner the one that finds them farther. Arguments as for `probabilities`.
    """
    network, linear = parts(model)
    found = [network.novelty(pixels)] if network and network.reference else []
    if linear and linear.reference:
        found.append(linear.reference.distance(features) / linear.reference.threshold)
    return np.max(found, axis=0) if found else None
