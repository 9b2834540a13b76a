"""Class probabilities of a trained row, plainly and averaged over random augmentations."""

import torch
from torch import nn

from wbc.config import TTA, Augment
from wbc.train.augment import Prepare
from wbc.train.data import Pixels
from wbc.train.inference import infer


def plain(model: nn.Module, normalisation: dict[str, list[float]], pixels: Pixels) -> torch.Tensor:
    """(N, C) float32 softmax probabilities of N images."""
    return infer(model, Prepare(normalisation).to(pixels.where), pixels).softmax(1)


def tta(
    model: nn.Module,
    normalisation: dict[str, list[float]],
    pixels: Pixels,
    augment: Augment,
    settings: TTA,
    seed: int,
) -> torch.Tensor:
    """Test-time augmentation: the mean of softmax(logits / T) over one plain and R augmented passes (report, eq. 6).

    The augmentation is the training's but for the erasing, which hides evidence rather than vary the view.

    Returns:
        (N, C) float32 probabilities of N images.
    """
    torch.manual_seed(seed)
    augmented = Prepare(normalisation, augment, erase=False)
    passes = [Prepare(normalisation)] + [augmented] * settings.passes
    total = sum((infer(model, p.to(pixels.where), pixels) / settings.temperature).softmax(1) for p in passes)
    return total / len(passes)
