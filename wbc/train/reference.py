"""How far an image lies from those a network was trained on."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import nn

from wbc.train.augment import Prepare
from wbc.train.data import Part, Pixels
from wbc.train.inference import infer

UNUSUAL = 0.99  # share of the validation images that are nearer than an unusual one


class Reference(NamedTuple):
    """Where the training images lie among a network's D-dimensional embeddings."""

    means: torch.Tensor  # (classes, D) float32
    precision: torch.Tensor  # (D, D) float32, inverse of the covariance around the class means
    threshold: float  # distance beyond which an image is unusual

    def distance(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(N,) Mahalanobis distance of (N, D) embeddings from the nearest class mean (Lee et al. 2018)."""
        apart = embeddings[:, None] - self.means
        return torch.einsum("ncd,de,nce->nc", apart, self.precision, apart).clamp_min(0).sqrt().amin(1)


def reference(backbone: nn.Module, normalisation: dict[str, list[float]], train: Part, validation: Part) -> Reference:
    """Class means and shared covariance (Ledoit and Wolf 2004) of the training part, and when to call an image unusual.

    The threshold is the distance that a share `UNUSUAL` of the validation part, from the same source, does not reach.
    """
    of_train, of_validation = (embed(backbone, normalisation, part.pixels) for part in (train, validation))
    classes, of_class = train.targets.unique(return_inverse=True)
    means = torch.stack([of_train[train.targets == c].mean(0) for c in classes])
    covariance = LedoitWolf(assume_centered=True).fit((of_train - means[of_class]).double().numpy())
    found = Reference(means, torch.from_numpy(covariance.precision_.astype(np.float32)), 0.0)
    return found._replace(threshold=float(torch.quantile(found.distance(of_validation), UNUSUAL)))


def embed(backbone: nn.Module, normalisation: dict[str, list[float]], pixels: Pixels) -> torch.Tensor:
    """(N, D) float32 pooled output of the backbone, on the CPU: what the report calls its avgpool layer (§7.2.2)."""
    return infer(backbone, Prepare(normalisation).to(pixels.where), pixels)
