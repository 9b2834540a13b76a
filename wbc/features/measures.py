"""Measures of regions and textures with OpenCV and NumPy alone, which are fast to run and to import.

A region is a (H, W) uint8 array of 0 and 1. Its outermost rows and columns are 0, as `crop` leaves them.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from wbc.features.definitions import ANGLES, CHANNELS, GLCM, GREY_LEVELS, HU, HU_NOISE, LBP, LOBE_DEPTH, SHAPE

# Kinds of degenerate cells: those with an area of 0 or 1 pixels of each region
DEGENERATE = {
    "cell": ("empty", "one_pixel"),
    "nucleus": ("no_nucleus", "one_pixel_nucleus"),
    "cytoplasm": ("no_cytoplasm",),
}


def count_degenerate(table: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count the degenerate cells in (N,) values of each feature, for each kind that the set's features can tell.

    A cell may be of several kinds, but an empty one is only `empty`.
    """
    counts = {}
    for region, kinds in DEGENERATE.items():
        for area, kind in enumerate(kinds if {"cell_area", f"{region}_area"} <= {*table} else ()):
            possible = (table["cell_area"] > 0) | (kind == "empty")
            counts[kind] = int(np.count_nonzero(possible & (table[f"{region}_area"] == area)))
    return counts


def shape(region: np.ndarray) -> dict[str, float]:
    """Shape of a region, all its parts taken together (report §3.2.1 and §3.2.2); all 0 if it is empty.

    Area, perimeter, eccentricity and solidity equal those of `skimage.measure.regionprops`.
    """
    m = cv2.moments(region, binaryImage=True)
    area = m["m00"]
    if not area:
        return dict.fromkeys(SHAPE, 0.0)
    # λ₁ and λ₂ are (total ± apart) / 2
    total, apart = m["mu20"] + m["mu02"], np.hypot(m["mu20"] - m["mu02"], 2 * m["mu11"])
    eccentricity = np.sqrt(ratio(2 * apart, total + apart))
    outline = perimeter(region)
    values = (area, outline, eccentricity, area / hull_area(region), ratio(4 * np.pi * area, outline**2))
    return dict(zip(SHAPE, values, strict=True))


CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# The weighted sum over a pixel's neighbourhood (1 for itself, 2 for each adjacent and 10 for each diagonal neighbour)
# identifies the outline there: 5 is a straight line, 21 a diagonal one, 13 a bend from one into the other.
NEIGHBOURHOOD = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.float32)
STEP = np.zeros(50)
STEP[[5, 7, 15, 17, 25, 27]] = 1
STEP[[21, 33]] = np.sqrt(2)
STEP[[13, 23]] = (1 + np.sqrt(2)) / 2


def perimeter(region: np.ndarray) -> float:
    """Length of all outlines of a region, holes included (Benkrid, Crookes), as `skimage.measure.perimeter`."""
    outline = region - cv2.erode(region, CROSS)
    kinds = cv2.filter2D(outline, cv2.CV_8U, NEIGHBOURHOOD, borderType=cv2.BORDER_CONSTANT)
    return float(np.bincount(kinds.ravel(), minlength=len(STEP)) @ STEP)


def hull_area(region: np.ndarray) -> int:
    """Number of pixels with their centre in a region's convex hull, as `skimage.morphology.convex_hull_image`.

    A pixel is a diamond there: it extends half a pixel to its four sides.
    """
    rows = np.flatnonzero(region.any(axis=1))
    left = region[rows].argmax(axis=1)
    right = region.shape[1] - 1 - region[rows, ::-1].argmax(axis=1)
    outermost = np.stack([np.append(left, right), np.append(rows, rows)], axis=1)
    # In half pixels the tips of the diamonds are integers, and the centres even.
    tips = 2 * outermost[:, None] + [(-1, 0), (1, 0), (0, -1), (0, 1)]
    hull = cv2.convexHull(tips.reshape(-1, 2).astype(np.int32))[:, 0]
    # The hull goes down one side and up the other. Both are interpolated at every row of centres.
    hull = np.roll(hull, -hull[:, 1].argmin(), axis=0)
    bottom = hull[:, 1].argmax()
    sides = hull[: bottom + 1], np.append(hull[bottom:], hull[:1], axis=0)[::-1]
    centres = 2 * np.arange(rows[0], rows[-1] + 1)
    ends = [np.interp(centres, y, x) / 2 for x, y in (side.T for side in sides)]
    nudge = 1e-9  # more than rounding errors, less than the distance of any centre beside the hull
    first, last = np.ceil(np.minimum(*ends) - nudge), np.floor(np.maximum(*ends) + nudge)
    return int((last - first + 1).sum())


def hu(region: np.ndarray) -> dict[str, float]:
    """Hu's seven moment invariants h of a region (Hu 1962), each as -sign(h)·log10|h|, 0 where |h| ≤ `HU_NOISE`.

    The moments span twenty orders of magnitude, so they are only comparable as logarithms.
    """
    moments = cv2.HuMoments(cv2.moments(region, binaryImage=True)).ravel()
    return {
        name: -np.sign(h) * np.log10(abs(h)) if abs(h) > HU_NOISE else 0.0 for name, h in zip(HU, moments, strict=True)
    }


def lobes(nucleus: np.ndarray) -> int:
    """Number of lobes: the parts left when the nucleus is eroded by `LOBE_DEPTH` of its largest inscribed radius.

    The count does not depend on the image's scale. Bridges and lobes thinner than `LOBE_DEPTH` of the widest lobe are
    eroded. A nucleus has at least one lobe. The report names the feature (§3.1.2) without defining it.
    """
    depth = cv2.distanceTransform(nucleus, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    core = (depth > LOBE_DEPTH * depth.max()).view(np.uint8)
    return cv2.connectedComponents(core, connectivity=8)[0] - 1  # without the background


# Meaning of the 256 values of each channel. Hue is an angle, in OpenCV in steps of 2°. It is counted from green: a mean
# of red hues, such as an eosinophil's, would break where the angle jumps from 360° to 0°.
LEVELS = np.tile(np.arange(256.0), (len(CHANNELS), 1))
LEVELS[list(CHANNELS).index("h"), :180] = 2 * ((np.arange(180) + 120) % 180)


def histograms(images: list[np.ndarray], region: np.ndarray) -> np.ndarray:
    """(channels, 256) float64 number of a region's pixels with each value, for every channel of the images."""
    channels = range(sum(image.shape[2] for image in images))
    return np.float64([cv2.calcHist(images, [channel], region, [256], [0, 256]).ravel() for channel in channels])


def colour(counts: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of a region's channels (report §3.2.2); 0 if it is empty.

    `counts` are its (6, 256) histograms of R, G, B, H, S, V, or the first three of them.
    """
    pixels, levels = max(counts[0].sum(), 1), LEVELS[: len(counts)]
    means = (counts * levels).sum(axis=1) / pixels
    deviations = np.sqrt((counts * (levels - means[:, None]) ** 2).sum(axis=1) / pixels)
    result = {}
    for channel, mean, deviation in zip(CHANNELS, means, deviations, strict=False):
        result |= {f"{channel}_mean": mean, f"{channel}_std": deviation}
    return result


def glcm(grey: np.ndarray, cell: np.ndarray) -> dict[str, float]:
    """Grey-level co-occurrence texture (Haralick 1973; report §3.2.2): 5 properties at 4 angles.

    Pairs are one pixel apart and counted both ways (symmetric), in `GREY_LEVELS` levels. Both pixels must lie in the
    cell; otherwise the steep outline would dominate. The properties are 0 for an angle without pairs, and the
    correlation is 1 if there is at most one level, as in `skimage.feature.graycoprops`.
    """
    levels = (grey // (256 // GREY_LEVELS) + 1) * cell  # the histogram omits the background's level, 0
    pairs = (  # in the order of ANGLES
        (levels[:, :-1], levels[:, 1:]),
        (levels[:-1, :-1], levels[1:, 1:]),
        (levels[:-1], levels[1:]),
        (levels[:-1, 1:], levels[1:, :-1]),
    )
    bins, limits = [GREY_LEVELS] * 2, [1, GREY_LEVELS + 1] * 2
    p = np.stack([cv2.calcHist(pair, [0, 1], None, bins, limits) for pair in pairs]).astype(np.float64)
    p += p.transpose(0, 2, 1)
    p /= np.maximum(p.sum(axis=(1, 2), keepdims=True), 1)

    level = np.arange(GREY_LEVELS)
    apart = level[:, None] - level
    margin = p.sum(axis=2)
    centred = level - (margin @ level)[:, None]
    variance = (margin * centred**2).sum(axis=1)
    covariance = np.einsum("aij,ai,aj->a", p, centred, centred)
    single = np.sqrt(variance) < 1e-15
    properties = {
        "contrast": np.tensordot(p, apart**2),
        "homogeneity": np.tensordot(p, 1 / (1 + apart**2)),
        "energy": np.sqrt((p**2).sum(axis=(1, 2))),
        "correlation": np.where(single, 1, covariance / np.where(single, 1, variance)),
        "dissimilarity": np.tensordot(p, np.abs(apart)),
    }
    return {
        f"glcm_{name}_{angle}": value for name in GLCM for angle, value in zip(ANGLES, properties[name], strict=True)
    }


def mean_glcm(grey: np.ndarray, cell: np.ndarray) -> dict[str, float]:
    """The 5 properties of `glcm`, averaged over the 4 angles."""
    values = glcm(grey, cell)
    return {f"glcm_{name}": np.mean([values[f"glcm_{name}_{angle}"] for angle in ANGLES]) for name in GLCM}


def _uniform(code: int) -> int:
    """Bin of a pattern of 8 bits around a circle: the number of 1s if they are all in one run, else 9."""
    following = code >> 1 | (code & 1) << 7
    return code.bit_count() if (code ^ following).bit_count() <= 2 else 9


UNIFORM = np.array([_uniform(code) for code in range(256)])
CIRCLE = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))  # rows down, columns right
# A diagonal neighbour lies √½ along both axes and is interpolated from four pixels. scikit-image rounds √½ to five
# decimals. In units of the fifth decimal the comparison is exact, independent of floating-point rounding.
NEAR, FAR = 29289, 70711


def lbp(grey: np.ndarray, cell: np.ndarray) -> dict[str, float]:
    """Fraction of the cell's pixels in each rotation-invariant uniform local binary pattern (Ojala 2002; §3.2.2).

    8 neighbours at radius 1, as `skimage.feature.local_binary_pattern`. Bin i < 9 has i neighbours at least as bright
    as the centre, all in one run. Bin 9 has the rest.
    """
    grey = grey.astype(np.int32)
    near, far = NEAR * grey, FAR * grey
    # (1-w)²·centre + (1-w)w·beside + w(1-w)·above + w²·corner ≥ centre, without the centre on the left, divided by w
    centre = 2 * near + far
    codes = np.zeros(_shift(grey, 0, 0).shape, np.uint8)
    for bit, (down, right) in enumerate(CIRCLE):
        if down and right:
            brighter = _shift(far, down, right) + _shift(near, down, 0) + _shift(near, 0, right) >= _shift(centre, 0, 0)
        else:
            brighter = _shift(grey, down, right) >= _shift(grey, 0, 0)
        codes |= brighter.view(np.uint8) << bit
    bins = np.bincount(UNIFORM[codes[_shift(cell, 0, 0) > 0]], minlength=len(LBP))
    fractions = bins / bins.sum()
    return dict(zip(LBP, fractions, strict=True))


def _shift(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """The neighbours in one direction (steps of -1, 0 or 1) of all pixels but the outermost rows and columns."""
    height, width = values.shape
    return values[1 + down : height - 1 + down, 1 + right : width - 1 + right]


def crop(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask in the bounding box of the mask and one pixel around it, which textures need as neighbours.

    Beyond the image's border that pixel repeats the last one, and is background in the mask.

    Raises:
        ValueError: image and mask differ in height or width.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image is {image.shape[:2]}, mask {mask.shape}: height and width must agree")
    x, y, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    box = np.s_[y : y + height + 2, x : x + width + 2]
    image = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return image[box], np.pad(mask, 1)[box]


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def ratio(a: float, b: float) -> float:
    return a / b if b else 0.0


def prefixed(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in values.items()}
