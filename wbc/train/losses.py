"""Class weights and losses for a long tail."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from wbc.config import Loss

BOUNDS = (0.2, 3.0)  # of the 1/√n weights (report §7.7.2)


def log_dampened(counts: np.ndarray) -> np.ndarray:
    """Class weights that grow with the logarithm of rarity (report, eq. 2).

    w_c = log(1 + n_max / n_c), divided by the mean over the classes.

    Args:
        counts: (C,) training images per class; a class without any gets weight 0 and no part in the mean.

    Returns:
        (C,) float64.
    """
    return _relative(counts, lambda n: np.log1p(n.max() / n))


def inverse_sqrt(counts: np.ndarray) -> np.ndarray:
    """Class weights 1/√n_c, divided by their mean and then kept within `BOUNDS` (report §7.7.2).

    Args:
        counts: (C,) training images per class; a class without any gets weight 0 and no part in the mean.

    Returns:
        (C,) float64.
    """
    weights = _relative(counts, lambda n: 1 / np.sqrt(n))
    return np.where(counts > 0, weights.clip(*BOUNDS), 0.0)


def _relative(counts: np.ndarray, weight: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`weight` of the counts above 0, divided by its mean; 0 for the others."""
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = weight(counts[present])
    return weights / weights[present].mean()


CLASS_WEIGHTS = {  # loss.class_weights, whose allowed values are these
    "none": lambda counts: np.ones(len(counts)),
    "log_dampened": log_dampened,
    "inverse_sqrt": inverse_sqrt,
}


def focal(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, gamma: float) -> torch.Tensor:
    """Focal loss of each image, Σ_c -y_c α_c (1 - p_c)^γ log p_c (report, eq. 4; Lin et al. 2017).

    p comes from the unweighted softmax: taken from a weighted cross-entropy it would no longer be a probability.
    With the soft target y = λ y_i + (1-λ) y_j this is the mixed loss of the report's eq. 7.

    Args:
        logits: (N, C).
        target: (N, C) class probabilities, one-hot where an image has one class.
        weights: (C,) α, one per class.
        gamma: γ; 0 leaves the weighted cross-entropy.

    Returns:
        (N,).
    """
    log_p = F.log_softmax(logits, dim=1)
    # 1 - p without cancellation; the floor keeps the derivative of a power below 1 finite where p is 1
    rest = (-torch.expm1(log_p)).clamp_min(1e-12)
    return -(target * weights * rest**gamma * log_p).sum(1)


class LossFunction(NamedTuple):
    """A loss of each image, and what their sum over a batch is divided by: both of soft targets and class weights."""

    per_image: Callable[[Loss, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    normaliser: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


LOSSES = {  # loss.name, whose allowed values are these
    "focal": LossFunction(lambda loss, *batch: focal(*batch, loss.gamma), lambda target, weights: target.sum()),
    # divided by the summed weights, as PyTorch's cross-entropy is
    "cross_entropy": LossFunction(
        lambda _, *batch: focal(*batch, 0.0), lambda target, weights: (target * weights).sum()
    ),
}


def per_image(settings: Loss, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N,) losses of (N, C) logits and (N, C) target probabilities, to be summed and divided by `normaliser`."""
    return LOSSES[settings.name].per_image(settings, logits, target, weights)


def normaliser(settings: Loss, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What a batch's summed loss is divided by: its images, or as in PyTorch's cross-entropy their summed weights."""
    return LOSSES[settings.name].normaliser(target, weights)
