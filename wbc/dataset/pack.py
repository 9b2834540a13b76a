"""Pack all images as equal squares in one file, which trains faster than decoding JPEGs every epoch."""

import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from wbc.core.io import atomic
from wbc.core.parallel import parallel_map
from wbc.dataset.images import read

HALF_UP = 0.501  # rounds halves, which are frequent, up even where a sum's last bits leave them just below


def centre_crop(image: np.ndarray, fraction: float) -> np.ndarray:
    """The central `fraction` of either axis of an (H, W[, 3]) image, in whole pixels; the odd one is cut off below."""
    lengths = [max(1, math.floor(length * fraction + 0.5)) for length in image.shape[:2]]
    top, left = ((length - kept) // 2 for length, kept in zip(image.shape[:2], lengths, strict=True))
    return image[top : top + lengths[0], left : left + lengths[1]]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Scale (H, W, 3) uint8 to (size, size, 3): along either axis by area where it shrinks, else bilinearly.

    So nothing aliases. Rounded once, as an exported model does (`wbc.cli.export.resize`). The aspect ratio is not kept:
    the challenge's 368×370 images differ from a square by half a percent.
    """
    height, width = image.shape[:2]
    small = (min(width, size), min(height, size))
    shrunk = cv2.resize(image.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    return np.floor(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR) + HALF_UP).astype(np.uint8)


def pack(manifest: pd.DataFrame, size: int, path: Path, crop: float = 1.0) -> None:
    """Write N images, cropped by `centre_crop` and resized, as one (N, size, size, 3) uint8 `.npy` file, RGB.

    Raises:
        ImageError: an image is missing or has changed since it was ingested.
    """

    def load(path: str, sha256: str) -> np.ndarray:
        return resize(centre_crop(read(path, sha256), crop), size)

    tasks = ((row.path, row.sha256) for row in manifest.itertuples())
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(manifest), size, size, 3)}
    # Written from front to back, since a disk that fills up under a memory map kills the process.
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for image in parallel_map(load, tasks, len(manifest), "pack", threads=True):
            file.write(image.tobytes())
