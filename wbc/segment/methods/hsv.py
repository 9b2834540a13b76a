"""The report's first segmentation: the cell by its colour saturation (§3.1.1)."""

import cv2
import numpy as np

from wbc.segment.regions import above_otsu, contours, filled, largest

NUCLEUS = False


def segment(image: np.ndarray) -> np.ndarray:
    """Segment the cell by its colour saturation (report, §3.1.1).

    HSV saturation, Otsu's threshold, outer contours, the one that encloses the largest area, filled.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (H, W) uint8 mask of 0 and 1, all 0 where the image has a single saturation.
    """
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    return filled(largest(contours(above_otsu(saturation))), saturation.shape)
