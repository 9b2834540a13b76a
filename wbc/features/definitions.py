"""What the sets of handcrafted features have in common: how a feature is written down, and the parts of their tables.

How they are computed is `wbc.features.measures`'s.
"""

from typing import NamedTuple

SHAPE = ("area", "perimeter", "eccentricity", "solidity", "circularity")
ANGLES = {0: "right", 45: "right and down", 90: "down", 135: "left and down"}  # degrees: the step, as in scikit-image

GREY_LEVELS = 32  # of the co-occurrence matrix, 8 of the 256 to each: far more pairs than bins, and little JPEG noise
HU_NOISE = 1e-18  # below it a Hu moment is mostly rounding error, as of symmetric shapes, and its sign chance
LOBE_DEPTH = 0.6  # how deep to erode before counting lobes, as a fraction of the nucleus's largest inscribed radius

# with p = η30 + η12 and q = η21 + η03
HU = {
    "hu_1": "η20 + η02",
    "hu_2": "(η20 − η02)² + 4η11²",
    "hu_3": "(η30 − 3η12)² + (3η21 − η03)²",
    "hu_4": "p² + q²",
    "hu_5": "(η30 − 3η12)p(p² − 3q²) + (3η21 − η03)q(3p² − q²)",
    "hu_6": "(η20 − η02)(p² − q²) + 4η11pq",
    "hu_7": "(3η21 − η03)p(p² − 3q²) − (η30 − 3η12)q(3p² − q²)",
}
CHANNELS = {  # name and unit
    "r": ("red", "0–255"),
    "g": ("green", "0–255"),
    "b": ("blue", "0–255"),
    "h": ("hue, from green: blue 120, purple about 165, red 240", "degrees"),
    "s": ("HSV saturation", "0–255"),
    "v": ("HSV value, the largest of red, green, blue", "0–255"),
}
STATISTICS = {"mean": "mean", "std": "standard deviation"}
GLCM = {  # formula and unit
    "contrast": ("Σ P (i − j)²", "levels²"),
    "homogeneity": ("Σ P / (1 + (i − j)²)", "1"),
    "energy": ("√(Σ P²)", "1"),
    "correlation": ("Σ P (i − µ)(j − µ) / σ²; 1 if σ = 0", "1"),
    "dissimilarity": ("Σ P |i − j|", "levels"),
}
LBP = {
    **{f"lbp_{i}": f"{i} of the 8 neighbours at least as bright, all in one run" for i in range(9)},
    "lbp_9": "any other pattern of neighbours",
}


class Feature(NamedTuple):
    """One row of a set's table: what is measured, in what unit (1: none), and where it comes from."""

    name: str
    definition: str
    unit: str
    source: str


def shapes(region: str, section: str, perimeter: str) -> tuple[Feature, ...]:
    """The shape of a region, in the order of `SHAPE`, and the sources of all and of the perimeter."""
    return (
        Feature(f"{region}_area", f"pixels of the {region}", "px²", section),
        Feature(
            f"{region}_perimeter",
            "length of the line through the centres of its outermost pixels, corners cut",
            "px",
            f"{perimeter}; Benkrid, Crookes",
        ),
        Feature(
            f"{region}_eccentricity",
            "√(1 − λ₂/λ₁), λ₁ ≥ λ₂ the variances along its principal axes; 0 circle, 1 line",
            "1",
            section,
        ),
        Feature(
            f"{region}_solidity",
            "area over pixels with their centre in the convex hull, a pixel being a diamond as wide as itself",
            "1",
            section,
        ),
        Feature(f"{region}_circularity", "4π · area / perimeter²; about 1 for a disc", "1", "§3.2.2"),
    )


def colours(region: str, channels: str, statistics: tuple[str, ...] = ("mean", "std")) -> tuple[Feature, ...]:
    """The colour of a region, its channels named by a letter each (keys of `CHANNELS`)."""
    return tuple(
        Feature(
            f"{region}_{channel}_{short}",
            f"{STATISTICS[short]} over the {region}: {CHANNELS[channel][0]}",
            CHANNELS[channel][1],
            "§3.2.1" if (region, short) == ("cell", "mean") and channel in "rgb" else "§3.2.2",
        )
        for channel in channels
        for short in statistics
    )
