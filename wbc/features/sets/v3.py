"""The features of `v2`, and 31 of the nucleus's bays, the chromatin and the cytoplasm's grain."""

from itertools import pairwise

import cv2
import numpy as np

from wbc.features.definitions import CHANNELS, GLCM, LBP, Feature
from wbc.features.measures import crop, grey, histograms, lbp, mean_glcm
from wbc.features.sets import v2

SMOOTH = 0.05  # blur of the nucleus's mask, in cell radii: a threshold leaves a frayed outline
BAYS = ("deepest", "second", "third")
DEEP = 0.15  # depth from which a bay counts, in nucleus radii
BLURS = (0.0, 0.015, 0.03, 0.06)  # in cell radii; visible granules lie between the first two
DENSITY = -np.log10(np.arange(1, 257) / 256)  # optical, of each 8-bit value; 0 for white
SKEW = "skewness of the chromatin's optical density: {}"
GRAIN = (
    "standard deviation over the cytoplasm of its optical density, {}, blurred by {:g} less blurred by {:g} cell radii"
)
TABLE = (
    *v2.TABLE,
    *(
        Feature(f"nucleus_bay_{i}", f"depth of the {which} bay / nucleus radius", "1", "own")
        for i, which in enumerate(BAYS, start=1)
    ),
    Feature("nucleus_bays", f"bays deeper than {DEEP:g} nucleus radii", "count", "own"),
    *(
        Feature(f"chromatin_glcm_{name}", f"mean over the four angles, of the chromatin: {text}", unit, "Haralick 1973")
        for name, (text, unit) in GLCM.items()
    ),
    *(
        Feature(f"chromatin_{name}", f"fraction of the chromatin's pixels with {text}", "1", "Ojala 2002")
        for name, text in LBP.items()
    ),
    *(Feature(f"chromatin_{c}_skew", SKEW.format(CHANNELS[c][0]), "1", "own") for c in "rgb"),
    *(
        Feature(f"cytoplasm_{c}_grain_{i}", GRAIN.format(CHANNELS[c][0], *blurs), "log₁₀", "own")
        for i, blurs in enumerate(pairwise(BLURS), start=1)
        for c in "rgb"
    ),
)
NAMES = tuple(feature.name for feature in TABLE)


def extract(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 120 features, see `wbc.features.sets`. The outline of the nucleus is smoothed for the last 31."""
    known = v2.extract(image, mask)
    image, mask = crop(image, mask)
    if not mask.any():
        return np.zeros(len(NAMES))
    cell = (mask > 0).view(np.uint8)
    radius = np.sqrt(np.count_nonzero(cell) / np.pi)
    nucleus = cell & (_blur(np.float32(mask == 2), SMOOTH * radius) > 0.5)
    return np.concatenate([known, bays(nucleus), chromatin(image, nucleus), grain(image, cell - nucleus, radius)])


def bays(nucleus: np.ndarray) -> np.ndarray:
    """Depths of the bays between the outline of the nucleus's largest part and its convex hull, and their number."""
    depths = np.zeros(len(BAYS))
    outlines = cv2.findContours(nucleus, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    if outlines:
        outline = max(outlines, key=cv2.contourArea)
        hull = np.sort(cv2.convexHull(outline, returnPoints=False), axis=0)[::-1]
        # OpenCV finds no bay between fewer than four points, and requires three on the hull.
        found = cv2.convexityDefects(outline, hull) if len(hull) > 2 < len(outline) - 1 else None
        if found is not None:
            radius = np.sqrt(np.count_nonzero(nucleus) / np.pi)
            depths = np.append(np.sort(found[:, 0, 3])[::-1] / 256 / radius, depths)  # OpenCV's unit is 1/256 pixel
    return np.append(depths[: len(BAYS)], np.count_nonzero(depths > DEEP))


def chromatin(image: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """Texture and skewness of the nucleus; all 0 without a nucleus."""
    if not nucleus.any():
        return np.zeros(len(GLCM) + len(LBP) + 3)
    image, nucleus = crop(image, nucleus)
    levels, counts = grey(image), histograms([image], nucleus)
    pixels = counts[0].sum()
    apart = DENSITY - (counts @ DENSITY / pixels)[:, None]
    deviation = np.sqrt((counts * apart * apart).sum(axis=1) / pixels)
    third = (counts * apart * apart * apart).sum(axis=1) / pixels
    flat = deviation < 1e-12  # rounding error only
    skew = np.where(flat, 0, third / np.where(flat, 1, deviation) ** 3)
    return np.array([*mean_glcm(levels, nucleus).values(), *lbp(levels, nucleus).values(), *skew])


def grain(image: np.ndarray, cytoplasm: np.ndarray, radius: float) -> np.ndarray:
    """Variation of the cytoplasm's optical density at each scale; all 0 without cytoplasm.

    The blurs use pixels of the cytoplasm alone, so the steep edges around it do not count.
    """
    weight, values = np.float32(cytoplasm), []
    masked = finer = cv2.multiply(np.float32(DENSITY)[image], cv2.merge([weight] * 3))
    for blur in BLURS[1:]:
        fraction = np.maximum(_blur(weight, blur * radius), 1e-6)  # larger inside, where the pixel itself counts
        coarser = cv2.divide(_blur(masked, blur * radius), cv2.merge([fraction] * 3))
        values.extend(cv2.meanStdDev(finer - coarser, mask=cytoplasm)[1].ravel())
        finer = coarser
    return np.array(values)


def _blur(values: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur with zeros beyond the border."""
    return cv2.GaussianBlur(values, (0, 0), deviation, borderType=cv2.BORDER_CONSTANT)
