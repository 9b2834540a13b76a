"""The report's first set: 9 features of the cell alone (§3.2.1)."""

import numpy as np

from wbc.features.definitions import GLCM, Feature, colours, shapes
from wbc.features.measures import colour, crop, grey, histograms, mean_glcm, prefixed, shape

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
    """The 9 features, see `wbc.features.sets`."""
    image, mask = crop(image, mask)
    cell = (mask > 0).view(np.uint8)
    values = prefixed("cell", shape(cell) | colour(histograms([image], cell))) | mean_glcm(grey(image), cell)
    return np.array([values[name] for name in NAMES])
