"""The third set's features of the cell as every laboratory might show it: on white, and as large as any other.

What a microscope, its camera and its lamp add is divided out of each image alone, so a model of one laboratory's cells
reads another's: docs/evidence.md, "From one laboratory to the next", has what this wins there and costs at home.
"""

import cv2
import numpy as np

from wbc.features.sets import v3

TABLE, NAMES = v3.TABLE, v3.NAMES
# of the circle of the cell's area, in pixels: fine enough for granules, and what coarse images still have
DIAMETER = 75
BRIGHTEST = 80  # percentile of brightness around the cell from which a pixel shows the empty slide


def extract(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 120 features of the third set, of the cell scaled to `DIAMETER` and divided by the empty slide's colour.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus.

    Returns:
        (120,) float64 in the order of `NAMES`, with the units of docs/reference.md; all 0 for an empty mask.

    Raises:
        ValueError: image and mask differ in height or width.
    """
    area = np.count_nonzero(mask)
    if image.shape[:2] != mask.shape or not area:
        return v3.extract(image, mask)
    factor = DIAMETER / (2 * np.sqrt(area / np.pi))
    return v3.extract(scaled(on_white(image, mask), factor), parts(mask, factor))


def on_white(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image divided by the median colour of the brightest fifth around the cell, of all of it if it fills it."""
    around = image[mask == 0] if (mask == 0).any() else image.reshape(-1, 3)
    brightness = around.sum(axis=1, dtype=np.int64)
    slide = np.median(around[brightness >= np.percentile(brightness, BRIGHTEST)], axis=0)
    return np.minimum(np.rint(image * (255 / np.maximum(slide, 1))), 255).astype(np.uint8)


def scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """Both axes times `factor`, at least a pixel each: by area where that shrinks, else bilinearly."""
    height, width = (max(round(side * factor), 1) for side in values.shape[:2])
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def parts(mask: np.ndarray, factor: float) -> np.ndarray:
    """The scaled mask: a pixel is the cell's, and the nucleus's, if most of it is."""
    cell, nucleus = (scaled(np.float32(mask >= part), factor) > 0.5 for part in (1, 2))
    return cell.astype(np.uint8) + nucleus
