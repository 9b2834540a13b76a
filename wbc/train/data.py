"""The packed pixels with their targets, by part."""

from typing import NamedTuple

import numpy as np
import torch

from wbc.data.tables import PIXELS, read_manifest, read_splits, targets


class Part(NamedTuple):
    """N images of one part."""

    ids: np.ndarray  # (N,) str
    images: torch.Tensor  # (N, H, W, 3) uint8
    targets: torch.Tensor  # (N,) int64, -1 where unlabelled


def load_part(name: str, validation: float) -> Part:
    """Read `train`, `validation` (the share `validation` of each class's training images) or `test` into memory."""
    manifest, splits = read_manifest(), read_splits()
    held_out = splits["validation"] < validation
    chosen = {
        "train": (splits["part"] == "train") & ~held_out,
        "validation": held_out,
        "test": splits["part"] == "test",
    }[name].to_numpy()
    pixels = np.load(PIXELS, mmap_mode="r")
    ids, labels = manifest["id"].to_numpy(), targets(manifest)
    return Part(ids[chosen], torch.from_numpy(pixels[chosen]), torch.from_numpy(labels[chosen]))
