"""Thresholds and regions, shared by the methods."""

import cv2
import numpy as np
from skimage.filters import threshold_otsu


def above_otsu(values: np.ndarray) -> np.ndarray:
    """1 above Otsu's threshold (Otsu 1979), else 0; all 0 if the values are constant."""
    return (values > threshold_otsu(values)).astype(np.uint8)


def fill(mask: np.ndarray, largest: bool = False) -> np.ndarray:
    """Fill the holes of the 8-connected components, or only keep the one that encloses the largest area, filled."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if largest:
        contours = sorted(contours, key=cv2.contourArea)[-1:]
    return cv2.drawContours(np.zeros_like(mask), contours, contourIdx=-1, color=1, thickness=cv2.FILLED)
