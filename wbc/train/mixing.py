"""MixUp and CutMix: virtual images from pairs of a batch."""

from collections.abc import Callable

import torch
from torch import nn
from torchvision.transforms import v2

from wbc.config.schema import Mix
from wbc.core.classes import CLASSES


def mixing(settings: Mix) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Return a function (N, 3, H, W) images, (N,) int64 classes → mixed images, (N, 13) float32 class probabilities.

    It applies MixUp (report, eq. 7), CutMix (eq. 8) or neither; of two, each batch draws one. MixUp draws λ from
    Beta(α, α). CutMix draws the area of its box likewise and clips the box at the border; λ is the fraction outside.
    """
    kinds = ((v2.MixUp, settings.mixup_alpha), (v2.CutMix, settings.cutmix_alpha))
    transforms = [kind(alpha=alpha, num_classes=len(CLASSES)) for kind, alpha in kinds if alpha > 0]
    return v2.RandomChoice(transforms) if transforms else lambda images, targets: (images, one_hot(targets))


def one_hot(targets: torch.Tensor) -> torch.Tensor:
    """(N,) int64 classes → (N, 13) float32."""
    return nn.functional.one_hot(targets, len(CLASSES)).float()
