"""Definitions, units and sources of the handcrafted features. `wbc.features.measures` computes them."""

from typing import NamedTuple

ANGLES = {0: "right", 45: "right and down", 90: "down", 135: "left and down"}  # degrees: the step, as in scikit-image
GREY_LEVELS = 32  # of the co-occurrence matrix, each 8 of the 256 values: many pairs per bin, little JPEG noise
HU_NOISE = 1e-18  # smaller Hu moments, as of symmetric shapes, are mostly rounding error
LOBE_DEPTH = 0.6  # depth of the erosion before lobes are counted, as a fraction of the largest inscribed radius

SHAPE = {
    "area": "pixels of the {}",
    "perimeter": "length of the line through the centres of its outermost pixels, corners cut",
    "eccentricity": "√(1 − λ₂/λ₁), λ₁ ≥ λ₂ the variances along its principal axes; 0 circle, 1 line",
    "solidity": "area over pixels with their centre in the convex hull, a pixel being a diamond as wide as itself",
    "circularity": "4π · area / perimeter²; about 1 for a disc",
}
HU = {  # with p = η30 + η12 and q = η21 + η03
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
GLCM = {  # definition and unit
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
    """An entry of the table of a set."""

    name: str
    definition: str
    unit: str  # "1" if it has none
    source: str


def shapes(region: str, section: str, perimeter: str) -> tuple[Feature, ...]:
    """The features of `SHAPE` of a region. The section is the source of all but the perimeter and the circularity."""
    sources = (section, f"{perimeter}; Benkrid, Crookes", section, section, "§3.2.2")
    rows = zip(SHAPE.items(), ("px²", "px", "1", "1", "1"), sources, strict=True)
    return tuple(Feature(f"{region}_{name}", text.format(region), *rest) for (name, text), *rest in rows)


def colours(region: str, channels: str, statistics: tuple[str, ...] = tuple(STATISTICS)) -> tuple[Feature, ...]:
    """The colour features of a region. Each letter of `channels` is a key of `CHANNELS`."""
    return tuple(
        Feature(
            f"{region}_{channel}_{statistic}",
            f"{STATISTICS[statistic]} over the {region}: {CHANNELS[channel][0]}",
            CHANNELS[channel][1],
            "§3.2.1" if (region, statistic) == ("cell", "mean") and channel in "rgb" else "§3.2.2",
        )
        for channel in channels
        for statistic in statistics
    )
