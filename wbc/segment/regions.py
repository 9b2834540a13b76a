"""Thresholds and contours, shared by the methods."""

import cv2
import numpy as np
from skimage.filters import threshold_otsu


def above_otsu(values: np.ndarray) -> np.ndarray:
    """1 above Otsu's threshold (Otsu 1979), else 0; all 0 if the values are constant."""
    return (values > threshold_otsu(values)).astype(np.uint8)


def contours(mask: np.ndarray) -> list[np.ndarray]:
    """The outer contour of each 8-connected component."""
    return list(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])


def largest(contours: list[np.ndarray]) -> list[np.ndarray]:
    """The contour with the largest area, in a list that is empty for no contours."""
    return sorted(contours, key=cv2.contourArea)[-1:]


def filled(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Mask of 1 on and inside the contours, so holes are filled."""
    return cv2.drawContours(np.zeros(shape, np.uint8), contours, contourIdx=-1, color=1, thickness=cv2.FILLED)
