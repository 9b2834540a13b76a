"""The report's two sets of hand-crafted features: 9 (§3.2.1) and 89 (§3.2.2).

A cell is described from its image and its mask (0 background, 1 cytoplasm, 2 nucleus). Lengths are in pixels, areas in
pixels², colours in 0–255, so images of one set should share one scale. What cannot be measured, such as the nucleus of
a cell without one, is 0: no feature is ever NaN or infinite.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from skimage.measure import regionprops

SHAPE = ("area", "perimeter", "eccentricity", "solidity", "circularity")
HU = tuple(f"hu_{i}" for i in range(1, 8))
REGIONS = ("cell", "nucleus", "cytoplasm")
CHANNELS = ("r", "g", "b", "h", "s", "v")
GLCM = ("contrast", "homogeneity", "energy", "correlation", "dissimilarity")
ANGLES = (0, 45, 90, 135)  # degrees
LBP = tuple(f"lbp_{i}" for i in range(10))

V1 = (
    *(f"cell_{name}" for name in SHAPE[:4]),
    *(f"cell_{channel}_mean" for channel in "rgb"),
    "glcm_contrast",
    "glcm_homogeneity",
)
V2 = (
    *(f"cell_{name}" for name in SHAPE),
    *HU,
    "nucleus_cell_ratio",
    *(f"nucleus_{name}" for name in SHAPE),
    "nucleus_lobes",
    "cytoplasm_area",
    *(f"{region}_{channel}_{statistic}" for region in REGIONS for channel in CHANNELS for statistic in ("mean", "std")),
    *("ratio_r_g", "ratio_r_b", "ratio_g_b"),
    *(f"glcm_{name}_{angle}" for name in GLCM for angle in ANGLES),
    *LBP,
)

GREY_LEVELS = 32  # of the co-occurrence matrix, 8 of the 256 to each: far more pairs than bins, and little JPEG noise
HU_NOISE = 1e-18  # below it a Hu moment is mostly rounding error, as of symmetric shapes, and its sign chance
LOBE_DEPTH = 0.6  # how deep to erode before counting lobes, as a fraction of the nucleus's largest inscribed radius


def extract_v1(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 9 features of the report's first version (§3.2.1), on the cell alone.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 0 background, above 0 the cell.

    Returns:
        (9,) float64 in the order of `V1`; all 0 for an empty mask. Contrast and homogeneity are the mean over the four
        angles, so that the cell's orientation hardly matters.

    Raises:
        ValueError: image and mask differ in height or width.
    """
    image, mask = _crop(image, mask)
    cell = mask > 0
    texture = glcm(_grey(image), cell)
    values = _prefixed("cell", shape(cell) | colour(image, cell))
    values |= {f"glcm_{name}": np.mean([texture[f"glcm_{name}_{angle}"] for angle in ANGLES]) for name in GLCM}
    return np.array([values[name] for name in V1])


def extract_v2(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 89 features of the report's second version (§3.2.2), on the cell, its nucleus and its cytoplasm.

    The report's table counts ~21 + ~39 + 20 + 10; these are 20 + 39 + 20 + 10.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus.

    Returns:
        (89,) float64 in the order of `V2`; all 0 for an empty mask.

    Raises:
        ValueError: image and mask differ in height or width.
    """
    image, mask = _crop(image, mask)
    if not mask.any():
        return np.zeros(len(V2))
    cell, nucleus, cytoplasm = mask > 0, mask == 2, mask == 1
    grey = _grey(image)
    values = _prefixed("cell", shape(cell) | colour(image, cell))
    values |= _prefixed("nucleus", shape(nucleus) | colour(image, nucleus))
    values |= _prefixed("cytoplasm", colour(image, cytoplasm))
    values["nucleus_lobes"] = lobes(nucleus)
    values["cytoplasm_area"] = np.count_nonzero(cytoplasm)
    values["nucleus_cell_ratio"] = values["nucleus_area"] / values["cell_area"]
    for a, b in ("rg", "rb", "gb"):
        values[f"ratio_{a}_{b}"] = _ratio(values[f"cell_{a}_mean"], values[f"cell_{b}_mean"])
    values |= hu(cell) | glcm(grey, cell) | lbp(grey, cell)
    return np.array([values[name] for name in V2], dtype=np.float64)


class FeatureSet(NamedTuple):
    """The names of some features and the function (image, mask) -> array that measures them in that order."""

    names: tuple[str, ...]
    extract: Callable[[np.ndarray, np.ndarray], np.ndarray]


SETS = {"v1": FeatureSet(V1, extract_v1), "v2": FeatureSet(V2, extract_v2)}


def shape(region: np.ndarray) -> dict[str, float]:
    """Shape of a region, all its parts taken together (report, §3.2.1 and §3.2.2).

    Area (pixels²), perimeter (pixels), eccentricity of the ellipse with the same second moments (0 circle, towards 1
    elongated) and solidity (area over convex area) as `skimage.measure.regionprops` has them; circularity
    4π·area/perimeter² (about 1 for a disc, less for lobes; 0 for a region too small to have a perimeter).
    """
    if not region.any():
        return dict.fromkeys(SHAPE, 0.0)
    (properties,) = regionprops(region.astype(np.uint8))
    area, perimeter = properties.area, properties.perimeter
    circularity = _ratio(4 * np.pi * area, perimeter**2)
    return dict(zip(SHAPE, (area, perimeter, properties.eccentricity, properties.solidity, circularity), strict=True))


def hu(region: np.ndarray) -> dict[str, float]:
    """Hu's seven moment invariants of a binary region (Hu 1962), each as -sign(h)·log10|h|.

    They span twenty orders of magnitude, which no scaling to unit variance could even out; their logarithms do not.
    """
    moments = cv2.HuMoments(cv2.moments(region.astype(np.uint8), binaryImage=True)).ravel()
    return {
        name: -np.sign(h) * np.log10(abs(h)) if abs(h) > HU_NOISE else 0.0 for name, h in zip(HU, moments, strict=True)
    }


def lobes(nucleus: np.ndarray) -> int:
    """Number of lobes: the parts left when the nucleus is eroded by `LOBE_DEPTH` of its largest inscribed radius.

    The depth follows the nucleus's size, so the count does not depend on the image's scale. A bridge thinner than
    `LOBE_DEPTH` of the widest lobe parts two lobes; a lobe or speck less wide than that is not counted. There is always
    at least one, unless there is no nucleus. The report names the feature (§3.1.2), not its definition.
    """
    depth = cv2.distanceTransform(nucleus.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    core = (depth > LOBE_DEPTH * depth.max()).astype(np.uint8)
    return cv2.connectedComponents(core, connectivity=8)[0] - 1  # the background is one of them


def colour(image: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of R, G, B, H, S, V over a region (report, §3.2.2).

    All are 0–255 but the hue, an angle, whose mean would break where it jumps from 360° to 0°: in an eosinophil's reds.
    So it counts degrees from green (120°), which no stain shows, and runs without a jump through blue (120), purple
    (about 165) and red (240).
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 120) % 180  # OpenCV counts in steps of 2°, and 8 bits end at 255
    result = {}
    for pixels, channels in ((image, "rgb"), (hsv, "hsv")):
        means, deviations = cv2.meanStdDev(pixels, mask=region.astype(np.uint8))
        for channel, mean, deviation in zip(channels, means.ravel(), deviations.ravel(), strict=True):
            unit = 2 if channel == "h" else 1
            result |= {f"{channel}_mean": unit * mean, f"{channel}_std": unit * deviation}
    return result


def glcm(grey: np.ndarray, cell: np.ndarray) -> dict[str, float]:
    """Texture from the grey-level co-occurrence matrix (Haralick 1973; report, §3.2.2): 5 properties at 4 angles.

    Pairs of pixels one step apart, counted both ways (symmetric), in `GREY_LEVELS` levels. Only pairs with both pixels
    in the cell count: the background gets a level of its own, whose row and column are dropped, or else the outline's
    steep edge would drown the chromatin. The angle is scikit-image's: 45° is the step right and down. An angle without
    a pair gives 0, and the correlation of a single level is 1, both as in scikit-image.
    """
    levels = np.where(cell, grey // (256 // GREY_LEVELS) + 1, 0).astype(np.uint8)
    counts = graycomatrix(levels, [1], np.deg2rad(ANGLES), levels=GREY_LEVELS + 1, symmetric=True)[1:, 1:]
    return {
        f"glcm_{name}_{angle}": value
        for name in GLCM
        for angle, value in zip(ANGLES, graycoprops(counts, name)[0], strict=True)
    }


def lbp(grey: np.ndarray, cell: np.ndarray) -> dict[str, float]:
    """Share of the cell's pixels in each rotation-invariant uniform local binary pattern (Ojala 2002; §3.2.2).

    8 neighbours at radius 1. Bin i < 9 has i neighbours at least as bright as the centre, all in one run; bin 9 has the
    rest. The bins add up to 1.
    """
    patterns = local_binary_pattern(grey, P=8, R=1, method="uniform")[cell].astype(int)
    return dict(zip(LBP, np.bincount(patterns, minlength=len(LBP)) / patterns.size, strict=True))


def _crop(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cell's bounding box and one pixel around it, so that the textures at its rim have their neighbours.

    At the image's border that pixel repeats the last one and is background in the mask.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image is {image.shape[:2]}, mask {mask.shape}: height and width must agree")
    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    box = np.s_[y : y + height + 2, x : x + width + 2]
    image = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return image[box], np.pad(mask, 1)[box]


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _ratio(a: float, b: float) -> float:
    return a / b if b else 0.0


def _prefixed(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in values.items()}
