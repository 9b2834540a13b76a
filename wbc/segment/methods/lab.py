"""The report's second segmentation: the cell by its darkness, and the nucleus as its darker part (§3.1.2)."""

import cv2
import numpy as np

from wbc.segment.regions import above_otsu, fill

NUCLEUS = True

# Diameter of the closing element as a fraction of the image's shorter side: 5 px at 120, 11 px at 368. The report does
# not specify the element. This one bridges gaps in the chromatin, but not the gap between a cell and its neighbours.
CLOSING = 0.03


def segment(image: np.ndarray) -> np.ndarray:
    """Threshold the inverted CIELab lightness by Otsu's method, first over the image, then over the cell.

    Both masks are closed and their holes filled, and the nucleus is cut to the cell. Only the largest component is kept
    as the cell; the report does not mention this, but otherwise every red cell would count as cytoplasm. The nucleus
    keeps all its parts, since its lobes may be separate.
    """
    darkness = 255 - cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0]
    cell = fill(_close(above_otsu(darkness)), largest=True)
    if not cell.any():
        return cell
    nucleus = np.zeros_like(cell)
    nucleus[cell > 0] = above_otsu(darkness[cell > 0])
    nucleus = fill(_close(nucleus)) & cell
    return cell + nucleus


def _close(mask: np.ndarray) -> np.ndarray:
    side = round(CLOSING * min(mask.shape)) | 1  # odd: the element has a centre
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
