"""Class weights and losses for a long tail."""

import numpy as np
import torch
import torch.nn.functional as F

from wbc.config import Loss


def log_dampened(counts: np.ndarray) -> np.ndarray:
    """Class weights that grow with the logarithm of rarity (report, eq. 2).

    w_c = log(1 + n_max / n_c), divided by the mean over the classes.

    Args:
        counts: (C,) training images per class; a class without any gets weight 0 and no part in the mean.

    Returns:
        (C,) float64.
    """
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = np.log1p(counts.max() / counts[present])
    return weights / weights[present].mean()


def class_weights(name: str, counts: np.ndarray) -> np.ndarray:
    """(C,) float64 weights by their name in `loss.class_weights`."""
    return {"none": np.ones_like(counts, dtype=float), "log_dampened": log_dampened(counts)}[name]


def focal(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, gamma: float) -> torch.Tensor:
    """Focal loss, the mean over the batch of -α_t (1 - p_t)^γ log p_t (report, eq. 4; Lin et al. 2017).

    p_t comes from the unweighted softmax: taken from a weighted cross-entropy it would no longer be a probability.

    Args:
        logits: (N, C).
        target: (N,) int64 classes.
        weights: (C,) α, one per class.
        gamma: γ; 0 leaves the weighted cross-entropy.

    Returns:
        A scalar.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, target[:, None]).squeeze(1)
    return (-weights[target] * (1 - log_p.exp()) ** gamma * log_p).mean()


def loss(settings: Loss, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The row's loss of (N, C) logits and (N,) int64 targets: a scalar.

    Cross-entropy is PyTorch's: its mean is divided by the summed weights of the batch.
    """
    if settings.name == "focal":
        return focal(logits, target, weights, settings.gamma)
    return F.cross_entropy(logits, target, weights)
