"""The report's first set: 9 features of the cell alone (§3.2.1)."""

import numpy as np

from wbc.features.definitions import ANGLES, GLCM, Feature, colours, shapes
from wbc.features.measures import colour, crop, glcm, grey, histograms, prefixed, shape

TABLE = (
    *shapes("cell", section="§3.2.1", perimeter="§3.2.1")[:4],
    *colours("cell", "rgb", ("mean",)),
    *(
        Feature(f"glcm_{name}", f"mean of glcm_{name} over the four angles", GLCM[name][1], "§3.2.1; Haralick 1973")
        for name in ("contrast", "homogeneity")
    ),
)
NAMES = tuple(feature.name for feature in TABLE)


def extract(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 9 features of the report's first version (§3.2.1), on the cell alone.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 0 background, above 0 the cell.

    Returns:
        (9,) float64 in the order of `NAMES`, with the units of docs/reference.md; all 0 for an empty mask.

    Raises:
        ValueError: image and mask differ in height or width.
    """
    image, mask = crop(image, mask)
    cell = (mask > 0).view(np.uint8)
    texture = glcm(grey(image), cell)
    values = prefixed("cell", shape(cell) | colour(histograms([image], cell)))
    for name in ("contrast", "homogeneity"):
        values[f"glcm_{name}"] = np.mean([texture[f"glcm_{name}_{angle}"] for angle in ANGLES])
    return np.array([values[name] for name in NAMES])
