"""The report's first segmentation: the cell by its colour saturation (§3.1.1)."""

import cv2
import numpy as np

from wbc.segment.regions import above_otsu, fill

NUCLEUS = False


def segment(image: np.ndarray) -> np.ndarray:
    """Threshold the HSV saturation by Otsu's method, and fill the outer contour that encloses the largest area."""
    return fill(above_otsu(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]), largest=True)
