"""The second set's features, and what they lack: the chromatin, the nucleus's bays, the cytoplasm's grain."""

from itertools import pairwise

import cv2
import numpy as np

from wbc.features.definitions import ANGLES, CHANNELS, GLCM, LBP, Feature
from wbc.features.measures import crop, glcm, grey, histograms, lbp, prefixed
from wbc.features.sets import v2

SMOOTH = 0.05  # blur of the nucleus's mask, in cell radii: the outline that a threshold leaves is frayed
BAYS = ("deepest", "second", "third")
DEEP = 0.15  # depth from which a bay counts, in nucleus radii
BLURS = (0.0, 0.015, 0.03, 0.06)  # in cell radii; what the eye calls granules lies between the first ones
DENSITY = -np.log10(np.arange(1, 257) / 256)  # optical, of each 8-bit value; 0 for white

BAY = {
    **{f"nucleus_bay_{i}": f"depth of the {which} bay / nucleus radius" for i, which in enumerate(BAYS, start=1)},
    "nucleus_bays": f"bays deeper than {DEEP:g} nucleus radii",
}
TEXTURE = {
    **{
        f"chromatin_glcm_{name}": (f"mean over the four angles, of the chromatin: {formula}", unit)
        for name, (formula, unit) in GLCM.items()
    },
    **{f"chromatin_{name}": (f"share of the chromatin's pixels with {pattern}", "1") for name, pattern in LBP.items()},
}
SKEW = {f"chromatin_{c}_skew": f"skewness of the chromatin's optical density: {CHANNELS[c][0]}" for c in "rgb"}
GRAIN = {
    f"cytoplasm_{c}_grain_{i}": f"standard deviation over the cytoplasm of its optical density, {CHANNELS[c][0]}, "
    f"blurred by {fine:g} less blurred by {coarse:g} cell radii"
    for i, (fine, coarse) in enumerate(pairwise(BLURS), start=1)
    for c in "rgb"
}
TABLE = (
    *v2.TABLE,
    *(Feature(name, definition, "count" if name == "nucleus_bays" else "1", "own") for name, definition in BAY.items()),
    *(
        Feature(name, definition, unit, "Ojala 2002" if "lbp" in name else "Haralick 1973")
        for name, (definition, unit) in TEXTURE.items()
    ),
    *(Feature(name, definition, "1", "own") for name, definition in SKEW.items()),
    *(Feature(name, definition, "log₁₀", "own") for name, definition in GRAIN.items()),
)
NAMES = tuple(feature.name for feature in TABLE)


def extract(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 89 features of the second set and 31 of the nucleus with its outline smoothed and of the other cytoplasm.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus.

    Returns:
        (120,) float64 in the order of `NAMES`, with the units of docs/reference.md; all 0 for an empty mask.

    Raises:
        ValueError: image and mask differ in height or width.
    """
    known = v2.extract(image, mask)
    image, mask = crop(image, mask)
    if not mask.any():
        return np.zeros(len(NAMES))
    cell = (mask > 0).view(np.uint8)
    radius = np.sqrt(np.count_nonzero(cell) / np.pi)
    nucleus = cell & (_blurred(np.float32(mask == 2), SMOOTH * radius) > 0.5)
    values = bays(nucleus) | chromatin(image, nucleus) | grain(image, cell - nucleus, radius)
    return np.append(known, [values[name] for name in NAMES[len(known) :]])


def bays(nucleus: np.ndarray) -> dict[str, float]:
    """How far the outline of the nucleus's largest part lies inside of its convex hull; 0 if there is no nucleus."""
    outlines = cv2.findContours(nucleus, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    depths = np.zeros(len(BAYS))
    if outlines:
        outline = max(outlines, key=cv2.contourArea)
        hull = np.sort(cv2.convexHull(outline, returnPoints=False), axis=0)[::-1]
        # of fewer than four points OpenCV makes no bay, and the hull may have fewer than three of them
        found = cv2.convexityDefects(outline, hull) if len(hull) > 2 < len(outline) - 1 else None
        if found is not None:
            radius = np.sqrt(np.count_nonzero(nucleus) / np.pi)
            depths = np.append(np.sort(found[:, 0, 3])[::-1] / 256 / radius, depths)  # OpenCV has 256ths of a pixel
    return dict(zip(BAY, [*depths[: len(BAYS)], np.count_nonzero(depths > DEEP)], strict=True))


def chromatin(image: np.ndarray, nucleus: np.ndarray) -> dict[str, float]:
    """Texture and skewness inside of the nucleus; all 0 if there is none."""
    if not nucleus.any():
        return dict.fromkeys((*TEXTURE, *SKEW), 0.0)
    part, inside = crop(image, nucleus)
    levels = grey(part)
    texture, values = glcm(levels, inside), prefixed("chromatin", lbp(levels, inside))
    for name in GLCM:
        values[f"chromatin_glcm_{name}"] = np.mean([texture[f"glcm_{name}_{angle}"] for angle in ANGLES])
    counts = histograms([part], inside)
    pixels = counts[0].sum()
    apart = DENSITY - (counts @ DENSITY / pixels)[:, None]
    spread = np.sqrt((counts * apart * apart).sum(axis=1) / pixels)
    third = (counts * apart * apart * apart).sum(axis=1) / pixels
    flat = spread < 1e-12  # rounding alone
    return values | dict(zip(SKEW, np.where(flat, 0, third / np.where(flat, 1, spread) ** 3), strict=True))


def grain(image: np.ndarray, cytoplasm: np.ndarray, radius: float) -> dict[str, float]:
    """How much the cytoplasm's optical density varies at each scale; all 0 if there is none.

    A blur takes its pixels from the cytoplasm alone, so that the steep edges around it do not count.
    """
    if not cytoplasm.any():
        return dict.fromkeys(GRAIN, 0.0)
    weight, values = np.float32(cytoplasm), []
    masked = finer = cv2.multiply(np.float32(DENSITY)[image], cv2.merge([weight] * 3))
    for blur in BLURS[1:]:
        share = np.maximum(_blurred(weight, blur * radius), 1e-6)  # larger inside, where it has the pixel itself
        coarser = cv2.divide(_blurred(masked, blur * radius), cv2.merge([share] * 3))
        values.extend(cv2.meanStdDev(finer - coarser, mask=cytoplasm)[1].ravel())
        finer = coarser
    return dict(zip(GRAIN, values, strict=True))


def _blurred(values: np.ndarray, deviation: float) -> np.ndarray:
    """A Gaussian blur; beyond the border there is nothing."""
    return cv2.GaussianBlur(values, (0, 0), deviation, borderType=cv2.BORDER_CONSTANT)
