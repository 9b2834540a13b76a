"""The features of v1 and v2 with scikit-image and NumPy, which the tests compare with those of wbc.features.

Independent of wbc's code. Only OpenCV's conversion to 8-bit grey and HSV is the same, since it defines the features.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from skimage.measure import label, moments_central, moments_hu, moments_normalized, regionprops

ANGLES = (0, 45, 90, 135)
PROPERTIES = ("contrast", "homogeneity", "energy", "correlation", "dissimilarity")


def v1(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """The 9 features by name; image (H, W, 3) uint8 RGB, mask (H, W) uint8 above 0 in the cell."""
    cell = mask > 0
    shape = outline(cell)
    values = {f"cell_{name}": shape[name] for name in ("area", "perimeter", "eccentricity", "solidity")}
    values |= {f"cell_{channel}_mean": image[..., i][cell].mean() for i, channel in enumerate("rgb")}
    matrix = cooccurrence(image, cell)
    return values | {f"glcm_{name}": graycoprops(matrix, name).mean() for name in ("contrast", "homogeneity")}


def v2(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """The 89 features by name; mask 0 background, 1 cytoplasm, 2 nucleus."""
    regions = {"cell": mask > 0, "nucleus": mask == 2, "cytoplasm": mask == 1}
    cell, nucleus = regions["cell"], regions["nucleus"]
    values = {f"cell_{name}": value for name, value in outline(cell).items()}
    values |= {f"nucleus_{name}": value for name, value in outline(nucleus).items()}
    values["nucleus_lobes"] = lobes(nucleus)
    values["cytoplasm_area"] = regions["cytoplasm"].sum()
    values["nucleus_cell_ratio"] = nucleus.sum() / cell.sum()

    invariants = moments_hu(moments_normalized(moments_central(cell.astype(float))))
    invariants[6] *= -1  # scikit-image and OpenCV order the axes differently: a reflection, which changes its sign
    for i, h in enumerate(invariants, start=1):
        values[f"hu_{i}"] = -np.sign(h) * np.log10(abs(h)) if abs(h) > 1e-18 else 0.0

    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(float)
    degrees = (2 * hsv[..., 0] - 120) % 360
    channels = dict(zip("rgbhsv", [*np.moveaxis(image, -1, 0), degrees, hsv[..., 1], hsv[..., 2]], strict=True))
    for region, inside in regions.items():
        for channel, pixels in channels.items():
            values[f"{region}_{channel}_mean"] = pixels[inside].mean() if inside.any() else 0.0
            values[f"{region}_{channel}_std"] = pixels[inside].std() if inside.any() else 0.0
    for a, b in ("rg", "rb", "gb"):
        values[f"ratio_{a}_{b}"] = values[f"cell_{a}_mean"] / values[f"cell_{b}_mean"]

    matrix = cooccurrence(image, cell)
    for name in PROPERTIES:
        for angle, value in zip(ANGLES, graycoprops(matrix, name)[0], strict=True):
            values[f"glcm_{name}_{angle}"] = value

    grey = np.pad(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1, mode="edge")  # the border pixels repeat
    patterns = local_binary_pattern(grey, P=8, R=1, method="uniform")[1:-1, 1:-1][cell]
    fractions = np.histogram(patterns, bins=np.arange(11), density=True)[0]
    return values | {f"lbp_{i}": fraction for i, fraction in enumerate(fractions)}


ORACLES = {"v1": v1, "v2": v2}


def outline(region: np.ndarray) -> dict[str, float]:
    """The five shape features of a region; 0 if it is empty."""
    names = ("area", "perimeter", "eccentricity", "solidity")
    if not region.any():
        return dict.fromkeys((*names, "circularity"), 0.0)
    properties = regionprops(region.astype(int))[0]
    values = {name: properties[name] for name in names}
    length = properties.perimeter
    return values | {"circularity": 4 * np.pi * properties.area / length**2 if length else 0.0}


def lobes(nucleus: np.ndarray) -> int:
    """Number of parts of the nucleus that are deeper inside than 0.6 of its largest depth."""
    depth = ndimage.distance_transform_edt(np.pad(nucleus, 1))
    return label(depth > 0.6 * depth.max(), connectivity=2).max()


def cooccurrence(image: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(32, 32, 1, 4) counts of neighbouring grey levels, 32 of them, inside the cell."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    levels = np.where(cell, grey // 8 + 1, 0)  # 0 is the background, dropped below
    return graycomatrix(levels, [1], np.deg2rad(ANGLES), levels=33, symmetric=True)[1:, 1:]
