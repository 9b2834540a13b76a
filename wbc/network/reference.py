"""How far an image lies from those a network was trained on."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import nn

from wbc.network.inference import infer
from wbc.network.pixels import Part, Pixels
from wbc.network.prepare import Prepare

UNUSUAL = 0.99  # share of the validation images that are nearer than an unusual one
REDUCTION = 8  # of the feature map that is looked at: `benchmarks.unusual` compares


class Reference(NamedTuple):
    """Where the training images lie among the D channel means of one of a network's feature maps."""

    means: torch.Tensor  # (classes, D) float32
    precision: torch.Tensor  # (D, D) float32, inverse of the covariance around the class means
    threshold: float  # distance beyond which an image is unusual
    layer: int | None = None  # the map's place in timm's `feature_info`; None, in older files: the pooled output

    def distance(self, features: torch.Tensor) -> torch.Tensor:
        """(N,) Mahalanobis distance of (N, D) channel means from the nearest class mean (Lee et al. 2018)."""
        apart = features[:, None] - self.means
        squares = torch.einsum("ncd,de,nce->nc", apart, self.precision, apart).clamp_min(0).amin(1)
        return torch.from_numpy(np.sqrt(squares.numpy()))  # PyTorch asks MKL, whose root differs between makes


class ChannelMeans(nn.Module):
    """A backbone up to one of its feature maps, whose channels it averages."""

    def __init__(self, backbone: nn.Module, layer: int | None):
        super().__init__()
        self.backbone, self.layer = backbone, layer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised images → (N, D)."""
        if self.layer is None:
            return self.backbone(images)
        (features,) = self.backbone.forward_intermediates(
            images, [self.layer], stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return features.float().mean((2, 3))


def channel_means(
    backbone: nn.Module, normalisation: dict[str, list[float]], pixels: Pixels, layer: int | None
) -> torch.Tensor:
    """(N, D) float32 channel means of N images, on the CPU."""
    return infer(ChannelMeans(backbone, layer), Prepare(normalisation).to(pixels.device), pixels)


def gaussians(features: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class means of (N, D) features and the inverse of their shared covariance (Ledoit and Wolf 2004), float32."""
    classes, of_class = targets.unique(return_inverse=True)
    means = torch.stack([features[targets == c].mean(0) for c in classes])
    covariance = LedoitWolf(assume_centered=True).fit((features - means[of_class]).double().numpy())
    return means, torch.from_numpy(covariance.precision_.astype(np.float32))


def reference(backbone: nn.Module, normalisation: dict[str, list[float]], train: Part, validation: Part) -> Reference:
    """Where the training part lies, and when to call an image unusual.

    Of the deepest feature map that is at least an eighth of the image wide: what is foreign about another laboratory's
    cells, its stain, its optics, its background, is still in there, while the last layers have learned to overlook it.
    The threshold is the distance that a share `UNUSUAL` of the validation part, from the same source, does not reach.
    """
    layer = max(0, sum(info["reduction"] <= REDUCTION for info in backbone.feature_info) - 1)
    of_train, of_validation = (
        channel_means(backbone, normalisation, part.pixels, layer) for part in (train, validation)
    )
    found = Reference(*gaussians(of_train, train.targets), 0.0, layer)
    return found._replace(threshold=float(torch.quantile(found.distance(of_validation), UNUSUAL)))
