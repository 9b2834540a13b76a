"""MixUp and CutMix: virtual images from pairs of a batch."""

import torch
from torch import nn
from torchvision.transforms import v2

from wbc.config.schema import Mix
from wbc.core.classes import CLASSES


class Mixing(nn.Module):
    """One draw per batch: MixUp (report, eq. 7) or CutMix (eq. 8), each as likely where both are on, or neither.

    MixUp takes λ from Beta(α, α). CutMix pastes a box whose share was drawn likewise, and λ is what the box leaves
    after being clipped at the border. Every image is paired with its neighbour in the batch, whose order is random.
    """

    def __init__(self, settings: Mix):
        super().__init__()
        kinds = ((v2.MixUp, settings.mixup_alpha), (v2.CutMix, settings.cutmix_alpha))
        ways = [kind(alpha=alpha, num_classes=len(CLASSES)) for kind, alpha in kinds if alpha > 0]
        self.draw = v2.RandomChoice(ways) if ways else None

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) images, (N,) int64 classes → mixed images, (N, C) float32 class probabilities."""
        return self.draw(images, targets) if self.draw else (images, one_hot(targets))


def one_hot(targets: torch.Tensor) -> torch.Tensor:
    """(N,) int64 classes → (N, C) float32."""
    return nn.functional.one_hot(targets, len(CLASSES)).float()
