"""The segmentations: the report's two, which threshold and clean, and a third, none of them learned.

Every method maps an RGB image to a mask of the same height and width: 0 background, 1 cytoplasm, 2 nucleus, the cell
being everything above 0. A method that does not look for the nucleus leaves 2 unused and is named in `CELL_ONLY`.
"""

import cv2
import numpy as np
from skimage.filters import threshold_otsu

from wbc.segment.polar import polar

# Diameter of the closing element as a fraction of the image's shorter side: 5 px at 120, 11 px at 368. The report names
# neither element nor size; this one bridges gaps in the chromatin without bridging a cell to its neighbours.
CLOSING = 0.03


def hsv(image: np.ndarray) -> np.ndarray:
    """Segment the cell by its colour saturation (report, §3.1.1).

    HSV saturation, Otsu's threshold, outer contours, the one that encloses the largest area, filled.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (H, W) uint8 mask of 0 and 1, all 0 where the image has a single saturation.
    """
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    return _filled(_largest(_contours(_above_otsu(saturation))), saturation.shape)


def lab(image: np.ndarray) -> np.ndarray:
    """Segment the cell by its darkness and, inside it, the nucleus as the darker part (report, §3.1.2).

    CIELab, L inverted; cell: Otsu's threshold, closing, hole filling; nucleus: Otsu's threshold over the cell's pixels
    alone, closing, hole filling, cut to the cell. Of the cell only the largest component is kept, of which the report
    says nothing: without it every red cell in view would count as cytoplasm. The nucleus keeps all its parts, since
    its lobes may be separate.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (H, W) uint8 mask of 0, 1 and 2, all 0 where the image has a single lightness.
    """
    darkness = 255 - cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0]
    cell = _filled(_largest(_contours(_closed(_above_otsu(darkness)))), darkness.shape)
    if not cell.any():
        return cell
    nucleus = np.zeros_like(cell)
    nucleus[cell > 0] = _above_otsu(darkness[cell > 0])
    nucleus = _filled(_contours(_closed(nucleus)), cell.shape) & cell
    return cell + nucleus


METHODS = {"hsv": hsv, "lab": lab, "polar": polar}
CELL_ONLY = frozenset({"hsv"})


def _above_otsu(values: np.ndarray) -> np.ndarray:
    """1 where above Otsu's threshold [8]; all 0 for constant values, which have no threshold."""
    return (values > threshold_otsu(values)).astype(np.uint8)


def _closed(mask: np.ndarray) -> np.ndarray:
    side = round(CLOSING * min(mask.shape)) | 1  # odd: the element has a centre
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _contours(mask: np.ndarray) -> list[np.ndarray]:
    """The outer contour of each 8-connected component."""
    return list(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])


def _largest(contours: list[np.ndarray]) -> list[np.ndarray]:
    return sorted(contours, key=cv2.contourArea)[-1:]  # none of none: a blank image has no contour


def _filled(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """1 on and inside the contours, so holes are filled."""
    mask = np.zeros(shape, np.uint8)
    return cv2.drawContours(mask, contours, contourIdx=-1, color=1, thickness=cv2.FILLED)
