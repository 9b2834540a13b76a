"""Where a network puts the cells: its embeddings, and their projection into the plane."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from wbc.classes import CLASSES


def project(embeddings: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008) of (N, D) embeddings: (N, 2) float32 coordinates.

    The perplexity is lowered to (N - 1) / 3 for small sets. One thread: a parallel sum would vary between runs.
    """
    if len(embeddings) < 3:  # nothing to arrange
        return np.zeros((len(embeddings), 2), np.float32)
    perplexity = min(perplexity, (len(embeddings) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(embeddings)


def scatter(points: np.ndarray, targets: np.ndarray, title: str) -> Figure:
    """A figure of (N, 2) points coloured by their (N,) class, as the report's Figures 8 and 12."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab20"].colors
    for target in np.unique(targets):
        of = points[targets == target]
        axes.scatter(*of.T, s=14, color=colours[target], label=f"{CLASSES[target]} ({len(of)})", linewidths=0)
    axes.set(xticks=[], yticks=[], title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
