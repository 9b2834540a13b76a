"""Novelty of an image: its distance from the training images, in units of a threshold."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

NOVELTY_QUANTILE = 0.99  # fraction of the images held out in training that lie within the threshold


class Reference(NamedTuple):
    """Distribution of the training images in D features."""

    means: np.ndarray  # (classes, D)
    precision: np.ndarray  # (D, D), inverse of the covariance around the class means
    threshold: float  # distance beyond which an image is novel
    layer: int | None = None  # index of a network's feature map

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64 Mahalanobis distance of (N, D) features from the nearest class mean (Lee et al. 2018)."""
        return cdist(features, self.means, "mahalanobis", VI=self.precision).min(1)


def gaussians(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class means of (N, D) features and the inverse of their shared covariance (Ledoit and Wolf 2004), float64."""
    classes, place = np.unique(targets, return_inverse=True)
    means = np.stack([features[targets == c].mean(0, dtype=float) for c in classes])
    return means, LedoitWolf(assume_centered=True).fit(features - means[place]).precision_
