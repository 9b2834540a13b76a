"""Every handcrafted feature the straightforward way, with scikit-image and NumPy: what wbc.features is held against.

Nothing here uses wbc's code. Whole images are measured, as one would write it first; only OpenCV's rounding of grey and
HSV to 8 bits is taken over, since it is part of the features' definition.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from skimage.measure import label, moments_central, moments_hu, moments_normalized, regionprops

ANGLES = (0, 45, 90, 135)
PROPERTIES = ("contrast", "homogeneity", "energy", "correlation", "dissimilarity")


def v1(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """The 9 features by name; image (H, W, 3) uint8 RGB, mask (H, W) uint8 with a cell above 0."""
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
    # scikit-image counts rows first, OpenCV columns: swapping the axes is a reflection, which turns the seventh's sign
    invariants[6] *= -1
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

    # beyond the image's border its last pixel goes on
    grey = np.pad(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1, mode="edge")
    patterns = local_binary_pattern(grey, P=8, R=1, method="uniform")[1:-1, 1:-1][cell]
    shares = np.histogram(patterns, bins=np.arange(11), density=True)[0]
    return values | {f"lbp_{i}": share for i, share in enumerate(shares)}


ORACLES = {"v1": v1, "v2": v2}


def outline(region: np.ndarray) -> dict[str, float]:
    """The five measures of a region's shape; 0 where it is empty."""
    names = ("area", "perimeter", "eccentricity", "solidity")
    if not region.any():
        return dict.fromkeys((*names, "circularity"), 0.0)
    properties = regionprops(region.astype(int))[0]
    values = {name: properties[name] for name in names}
    length = properties.perimeter
    return values | {"circularity": 4 * np.pi * properties.area / length**2 if length else 0.0}


def lobes(nucleus: np.ndarray) -> int:
    """Parts of the nucleus deeper inside it than 0.6 of its deepest pixel."""
    depth = ndimage.distance_transform_edt(np.pad(nucleus, 1))
    return label(depth > 0.6 * depth.max(), connectivity=2).max()


def cooccurrence(image: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(32, 32, 1, 4) counts of neighbouring grey levels, 32 of them, inside the cell."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    levels = np.where(cell, grey // 8 + 1, 0)  # the background has a level of its own, which is then dropped
    return graycomatrix(levels, [1], np.deg2rad(ANGLES), levels=33, symmetric=True)[1:, 1:]
