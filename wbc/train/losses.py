"""Class weights and losses for a long tail."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from wbc.config.schema import Loss

BOUNDS = (0.2, 3.0)  # of the 1/√n weights (report §7.7.2)
BETA = 0.9999  # of the class-balanced weights


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


def class_balanced(counts: np.ndarray) -> np.ndarray:
    """Class weights (1-β) / (1-β^n_c), of the effective number of images, over their mean (Cui et al. 2019, eq. 2).

    Args:
        counts: (C,) training images per class; a class without any gets weight 0 and no part in the mean.

    Returns:
        (C,) float64.
    """
    return _relative(counts, lambda n: (1 - BETA) / (1 - BETA**n))


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
    "class_balanced": class_balanced,
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


def adjusted(logits: torch.Tensor, counts: torch.Tensor, tau: float) -> torch.Tensor:
    """Logits plus τ log π, π the classes' shares of the training images (Menon et al. 2021, eq. 10).

    Learned with it, the logits themselves are those of classes that are all as frequent. A class without any image is
    not adjusted: otherwise nothing would keep its logit down.

    Args:
        logits: (N, C).
        counts: (C,) training images per class, as the sampler shows them.
        tau: τ.

    Returns:
        (N, C).
    """
    return logits + tau * (counts / counts.sum()).log().where(counts > 0, 0.0)


def smoothed(target: torch.Tensor, counts: torch.Tensor, share: float) -> torch.Tensor:
    """(N, C) targets of which `share` is spread evenly over the classes that have images (Szegedy et al. 2016, §7)."""
    present = (counts > 0).to(target.dtype)
    return (1 - share) * target + share * present / present.sum()


class LossFunction(NamedTuple):
    """A loss of each image, and what their sum over a batch is divided by: both of soft targets and class weights.

    The loss also takes its settings, logits and the (C,) training images per class.
    """

    per_image: Callable[[Loss, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    normaliser: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _summed_weights(target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What PyTorch's cross-entropy is divided by."""
    return (target * weights).sum()


LOSSES = {  # loss.name, whose allowed values are these
    "focal": LossFunction(
        lambda loss, logits, target, weights, counts: focal(logits, target, weights, loss.gamma),
        lambda target, weights: target.sum(),
    ),
    "cross_entropy": LossFunction(
        lambda loss, logits, target, weights, counts: focal(logits, target, weights, 0.0), _summed_weights
    ),
    "logit_adjusted": LossFunction(
        lambda loss, logits, target, weights, counts: focal(adjusted(logits, counts, loss.tau), target, weights, 0.0),
        _summed_weights,
    ),
}


def per_image(
    settings: Loss, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """(N,) losses of (N, C) logits and (N, C) target probabilities, to be summed and divided by `normaliser`.

    Weights and counts are of the classes, (C,) each.
    """
    return LOSSES[settings.name].per_image(settings, logits, target, weights, counts)


def normaliser(settings: Loss, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What a batch's summed loss is divided by: its images, or as in PyTorch's cross-entropy their summed weights."""
    return LOSSES[settings.name].normaliser(target, weights)
