"""How far an image lies from those a network was trained on."""

import numpy as np
import torch
from torch import nn

from wbc.network.inference import infer
from wbc.network.pixels import Part, Pixels
from wbc.network.prepare import Prepare
from wbc.scoring.novelty import NOVELTY_QUANTILE, Reference, gaussians

REDUCTION = 8  # of the feature map that is looked at: docs/results.md compares them


class ChannelMeans(nn.Module):
    """A backbone up to one of its feature maps, whose channels it averages."""

    def __init__(self, backbone: nn.Module, layer: int):
        super().__init__()
        self.backbone, self.layer = backbone, layer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised images → (N, D)."""
        (features,) = self.backbone.forward_intermediates(
            images, indices=[self.layer], stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return features.float().mean((2, 3))


def channel_means(
    backbone: nn.Module, normalisation: dict[str, list[float]], pixels: Pixels, layer: int
) -> torch.Tensor:
    """(N, D) float32 channel means of N images, on the CPU."""
    return infer(ChannelMeans(backbone, layer), Prepare(normalisation).to(pixels.device), pixels)


def fit_reference(
    backbone: nn.Module, normalisation: dict[str, list[float]], train: Part, validation: Part
) -> Reference:
    """Where the training part lies, and when to call an image unusual.

    Of the deepest feature map that is at least an eighth of the image wide: what is foreign about another laboratory's
    cells, its stain, its optics, its background, is still in there, while the last layers have learned to overlook it.
    The threshold is the distance within which a fraction `NOVELTY_QUANTILE` of the validation part lies.
    """
    layer = max(0, sum(info["reduction"] <= REDUCTION for info in backbone.feature_info) - 1)
    of_train, of_validation = (
        channel_means(backbone, normalisation, part.pixels, layer) for part in (train, validation)
    )
    means, precision = gaussians(of_train.numpy(), train.targets.numpy())
    found = Reference(means.astype(np.float32), precision.astype(np.float32), 0.0, layer)
    return found._replace(threshold=float(np.quantile(found.distance(of_validation.numpy()), NOVELTY_QUANTILE)))
