"""Regions of a mask and their outlines, and Otsu's threshold: what the methods have in common."""

import cv2
import numpy as np
from skimage.filters import threshold_otsu


def above_otsu(values: np.ndarray) -> np.ndarray:
    """1 where above Otsu's threshold [8]; all 0 for constant values, which have no threshold."""
    return (values > threshold_otsu(values)).astype(np.uint8)


def contours(mask: np.ndarray) -> list[np.ndarray]:
    """The outer contour of each 8-connected component."""
    return list(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])


def largest(contours: list[np.ndarray]) -> list[np.ndarray]:
    return sorted(contours, key=cv2.contourArea)[-1:]  # none of none: a blank image has no contour


def filled(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """1 on and inside the contours, so holes are filled."""
    mask = np.zeros(shape, np.uint8)
    return cv2.drawContours(mask, contours, contourIdx=-1, color=1, thickness=cv2.FILLED)
