"""Class weights and losses for a long-tailed distribution."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

BOUNDS = (0.2, 3.0)  # of the 1/√n weights (report §7.7.2)


def _relative(counts: np.ndarray, weight: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Weights of (C,) counts divided by their mean; an absent class has weight 0 and is not part of the mean."""
    weights, present = np.zeros(len(counts)), counts > 0
    weights[present] = weight(counts[present])
    return weights / weights[present].mean()


def log_dampened(counts: np.ndarray) -> np.ndarray:
    """Class weights log(1 + n_max / n_c), divided by their mean (report, eq. 2)."""
    return _relative(counts, lambda n: np.log1p(n.max() / n))


def inverse_sqrt(counts: np.ndarray) -> np.ndarray:
    """Class weights 1/√n_c, divided by their mean and then clipped to `BOUNDS` (report §7.7.2)."""
    return np.where(counts > 0, _relative(counts, lambda n: 1 / np.sqrt(n)).clip(*BOUNDS), 0.0)


CLASS_WEIGHTS = {  # values of loss.class_weights: functions of (C,) training images per class, returning (C,) float64
    "none": lambda counts: np.ones(len(counts)),
    "log_dampened": log_dampened,
    "inverse_sqrt": inverse_sqrt,
}


def focal(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, gamma: float) -> torch.Tensor:
    """Focal loss of each image, Σ_c -y_c α_c (1 - p_c)^γ log p_c (report, eq. 4; Lin et al. 2017).

    p is the unweighted softmax of the (N, C) logits, y are (N, C) class probabilities and α are (C,) weights. γ = 0
    gives the weighted cross-entropy; a soft target y = λ y_i + (1-λ) y_j gives the mixed loss of the report's eq. 7.
    """
    log_p = F.log_softmax(logits, dim=1)
    # 1 - p without cancellation; the lower bound keeps the gradient finite for γ < 1 and p = 1
    complement = (-torch.expm1(log_p)).clamp_min(1e-12)
    return -(target * weights * complement**gamma * log_p).sum(1)


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """PyTorch's weighted cross-entropy of a batch: the summed losses divided by the summed weights."""
    return focal(logits, target, weights, 0.0).sum() / (target * weights).sum()


# Values of loss.name: functions that return the mean loss of a batch. They take settings, (N, C) logits, (N, C) class
# probabilities and (C,) class weights.
LOSSES = {
    "focal": lambda loss, logits, target, weights: focal(logits, target, weights, loss.gamma).sum() / target.sum(),
    "cross_entropy": lambda loss, logits, target, weights: cross_entropy(logits, target, weights),
}
