"""The features of `v3`, independent of magnification and light: of the cell at a fixed size, on a white slide.

The effects of microscope, camera and lamp are divided out of each image, so that a model can be applied to another
laboratory's cells. docs/results.md, "Other laboratories", has the gain there and the cost on the own images.
"""

import cv2
import numpy as np

from wbc.features.sets import v3

TABLE, NAMES = v3.TABLE, v3.NAMES
DIAMETER = 75  # of the circle with the cell's area, in pixels: shows granules, and coarse images still have as many
BRIGHTEST = 80  # percentile of brightness around the cell from which a pixel shows the empty slide


def extract(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 120 features, see `wbc.features.sets`, of the scaled cell divided by the colour of the empty slide."""
    area = np.count_nonzero(mask)
    if image.shape[:2] != mask.shape or not area:
        return v3.extract(image, mask)
    factor = DIAMETER / (2 * np.sqrt(area / np.pi))
    # A pixel of the scaled mask belongs to the cell, or the nucleus, if most of it does.
    cell, nucleus = (scale(np.float32(mask >= part), factor) > 0.5 for part in (1, 2))
    return v3.extract(scale(whiten(image, mask), factor), cell.astype(np.uint8) + nucleus)


def whiten(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Divide an image by the median colour of the brightest fifth of its background, or of all if it has none."""
    around = image[mask == 0] if (mask == 0).any() else image.reshape(-1, 3)
    brightness = around.sum(axis=1, dtype=np.int64)
    slide = np.median(around[brightness >= np.percentile(brightness, BRIGHTEST)], axis=0)
    return np.minimum(np.rint(image * (255 / np.maximum(slide, 1))), 255).astype(np.uint8)


def scale(values: np.ndarray, factor: float) -> np.ndarray:
    """Resize both axes by a factor, to at least a pixel: by area if smaller, else bilinearly."""
    height, width = (max(round(side * factor), 1) for side in values.shape[:2])
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
