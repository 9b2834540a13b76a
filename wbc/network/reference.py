"""The novelty of an image to a network: its distance from the images that the network was trained on."""

import numpy as np
import torch
from torch import nn

from wbc.network.inference import infer
from wbc.network.pixels import Part, Pixels
from wbc.network.prepare import Prepare
from wbc.scoring.novelty import NOVELTY_QUANTILE, Reference, gaussians

REDUCTION = 8  # of the feature map; docs/results.md compares several


def channel_means(backbone: nn.Module, normalisation: dict[str, list[float]], pixels: Pixels, layer: int) -> np.ndarray:
    """(N, D) float32 channel means of a feature map for N images."""

    def forward(images: torch.Tensor) -> torch.Tensor:
        (features,) = backbone.forward_intermediates(
            images, indices=[layer], stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return features.float().mean((2, 3))

    return infer(backbone, Prepare(normalisation), pixels, forward).numpy()


def fit_reference(
    backbone: nn.Module, normalisation: dict[str, list[float]], train: Part, validation: Part
) -> Reference:
    """Fit the class means and the covariance of the training part; images beyond a threshold distance are novel.

    The features are channel means of the deepest feature map that is at least an eighth of the image wide: later layers
    ignore stain, optics and background. The threshold is the `NOVELTY_QUANTILE` of the validation part's distances.
    """
    layer = max(0, sum(info["reduction"] <= REDUCTION for info in backbone.feature_info) - 1)
    fitted, held_out = (channel_means(backbone, normalisation, part.pixels, layer) for part in (train, validation))
    means, precision = gaussians(fitted, train.targets.numpy())
    reference = Reference(means.astype(np.float32), precision.astype(np.float32), 0.0, layer)
    return reference._replace(threshold=float(np.quantile(reference.distance(held_out), NOVELTY_QUANTILE)))
