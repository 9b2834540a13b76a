"""The report's second set: 89 features of the cell, its nucleus and its cytoplasm (§3.2.2).

The report's table counts ~21 + ~39 + 20 + 10. These are 20 + 39 + 20 + 10.
"""

import cv2
import numpy as np

from wbc.features.definitions import ANGLES, GLCM, HU, LBP, LOBE_DEPTH, Feature, colours, shapes
from wbc.features.measures import colour, crop, glcm, grey, histograms, hu, lbp, lobes, prefixed, ratio, shape

REGIONS = ("cell", "nucleus", "cytoplasm")
TABLE = (
    *shapes("cell", section="§3.2.1", perimeter="§3.2.1"),
    *(
        Feature(name, f"−sign(h) · log₁₀|h| of the cell, h = {formula}", "1", "§3.2.2; Hu 1962")
        for name, formula in HU.items()
    ),
    Feature("nucleus_cell_ratio", "nucleus_area / cell_area", "1", "§3.2.2; Bikhet 2000"),
    *shapes("nucleus", section="§3.2.2", perimeter="chosen, as the cell's"),
    Feature(
        "nucleus_lobes",
        f"parts left when the nucleus is eroded by {LOBE_DEPTH:g} of its largest inscribed radius",
        "count",
        "§3.1.2; definition chosen",
    ),
    Feature("cytoplasm_area", "pixels of the cell that are not its nucleus's", "px²", "§3.2.2"),
    *(feature for region in REGIONS for feature in colours(region, "rgbhsv")),
    *(Feature(f"ratio_{a}_{b}", f"cell_{a}_mean / cell_{b}_mean", "1", "§3.2.2") for a, b in ("rg", "rb", "gb")),
    *(
        Feature(f"glcm_{name}_{angle}", f"{formula}; pairs one step {step}", unit, "§3.2.2; Haralick 1973")
        for name, (formula, unit) in GLCM.items()
        for angle, step in ANGLES.items()
    ),
    *(
        Feature(name, f"fraction of the cell's pixels with {pattern}", "1", "§3.2.2; Ojala 2002")
        for name, pattern in LBP.items()
    ),
)
NAMES = tuple(feature.name for feature in TABLE)


def extract(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 89 features, see `wbc.features.sets`."""
    image, mask = crop(image, mask)
    if not mask.any():
        return np.zeros(len(NAMES))
    cell, nucleus = (mask > 0).view(np.uint8), (mask == 2).view(np.uint8)
    compact = crop(image, nucleus)[1]
    levels, hsv = grey(image), cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    counts = {"cell": histograms([image, hsv], cell), "nucleus": histograms([image, hsv], nucleus)}
    counts["cytoplasm"] = counts["cell"] - counts["nucleus"]
    values = prefixed("cell", shape(cell)) | prefixed("nucleus", shape(compact))
    for region in REGIONS:
        values |= prefixed(region, colour(counts[region]))
    values["nucleus_lobes"] = lobes(compact)
    values["cytoplasm_area"] = values["cell_area"] - values["nucleus_area"]
    values["nucleus_cell_ratio"] = values["nucleus_area"] / values["cell_area"]
    for a, b in ("rg", "rb", "gb"):
        values[f"ratio_{a}_{b}"] = ratio(values[f"cell_{a}_mean"], values[f"cell_{b}_mean"])
    values |= hu(cell) | glcm(levels, cell) | lbp(levels, cell)
    return np.array([values[name] for name in NAMES], dtype=np.float64)
