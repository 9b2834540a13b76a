"""Projection of a network's embeddings into the plane."""

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits


def project(embeddings: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008) of (N, D) embeddings: (N, 2) float32 coordinates.

    The perplexity is at most (N - 1) / 3. Fewer than 3 embeddings, or equal ones, are placed at the origin.
    """
    # scikit-learn divides by the spread, and crashes if its square is 0
    if len(embeddings) < 3 or not (embeddings - embeddings[0]).var(axis=0).any():
        return np.zeros((len(embeddings), 2), np.float32)
    perplexity = min(perplexity, (len(embeddings) - 1) / 3)
    with threadpool_limits(1):  # a parallel sum would differ between runs
        return TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(embeddings)
