"""What the report's two sets of handcrafted features are: 9 (§3.2.1) and 89 (§3.2.2).

One table has every feature's name, definition, unit and source; the sets' order and docs/features.md come from it. How
they are computed is `wbc.features.measures`'s.
"""

from typing import NamedTuple

SHAPE = ("area", "perimeter", "eccentricity", "solidity", "circularity")
REGIONS = ("cell", "nucleus", "cytoplasm")
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
    """One row of the table: what is measured, in what unit (1: none), and where it comes from."""

    name: str
    definition: str
    unit: str
    source: str


def _shape(region: str, section: str, perimeter: str) -> tuple[Feature, ...]:
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


V2_TABLE = (
    *_shape("cell", section="§3.2.1", perimeter="§3.2.1"),
    *(
        Feature(name, f"−sign(h) · log₁₀|h| of the cell, h = {formula}", "1", "§3.2.2; Hu 1962")
        for name, formula in HU.items()
    ),
    Feature("nucleus_cell_ratio", "nucleus_area / cell_area", "1", "§3.2.2; Bikhet 2000"),
    *_shape("nucleus", section="§3.2.2", perimeter="chosen, as the cell's"),
    Feature(
        "nucleus_lobes",
        f"parts left when the nucleus is eroded by {LOBE_DEPTH:g} of its largest inscribed radius",
        "count",
        "§3.1.2; definition chosen",
    ),
    Feature("cytoplasm_area", "pixels of the cell that are not its nucleus's", "px²", "§3.2.2"),
    *(
        Feature(
            f"{region}_{channel}_{short}",
            f"{statistic} over the {region}: {meaning}",
            unit,
            "§3.2.1" if (region, short) == ("cell", "mean") and channel in "rgb" else "§3.2.2",
        )
        for region in REGIONS
        for channel, (meaning, unit) in CHANNELS.items()
        for short, statistic in (("mean", "mean"), ("std", "standard deviation"))
    ),
    *(Feature(f"ratio_{a}_{b}", f"cell_{a}_mean / cell_{b}_mean", "1", "§3.2.2") for a, b in ("rg", "rb", "gb")),
    *(
        Feature(f"glcm_{name}_{angle}", f"{formula}; pairs one step {step}", unit, "§3.2.2; Haralick 1973")
        for name, (formula, unit) in GLCM.items()
        for angle, step in ANGLES.items()
    ),
    *(
        Feature(name, f"share of the cell's pixels with {pattern}", "1", "§3.2.2; Ojala 2002")
        for name, pattern in LBP.items()
    ),
)
V1_ONLY = tuple(
    Feature(f"glcm_{name}", f"mean of glcm_{name} over the four angles", GLCM[name][1], "§3.2.1; Haralick 1973")
    for name in ("contrast", "homogeneity")
)
V1 = (
    *(f"cell_{name}" for name in SHAPE[:4]),
    *(f"cell_{channel}_mean" for channel in "rgb"),
    *(feature.name for feature in V1_ONLY),
)
V2 = tuple(feature.name for feature in V2_TABLE)


def markdown() -> str:
    """The text of docs/features.md."""

    def place(name: str, names: tuple[str, ...]) -> str:
        return str(names.index(name) + 1) if name in names else ""

    rows = (
        f"| `{f.name}` | {place(f.name, V1)} | {place(f.name, V2)} | {f.definition} | {f.unit} | {f.source} |"
        for f in (Feature(*(text.replace("|", "\\|") for text in feature)) for feature in (*V2_TABLE, *V1_ONLY))
    )
    return "\n".join([HEAD, *rows, FOOT])


HEAD = f"""# The handcrafted features

Written by `python -m wbc.features > docs/features.md` from the table in `wbc/features/definitions.py`.

A cell is measured on its image (8-bit RGB) and its mask (0 background, 1 cytoplasm, 2 nucleus); the cell is both parts.
Lengths are in pixels, so images of one set should share one scale. What cannot be measured is 0, such as the nucleus of
a cell without one or a quotient by 0: no feature is ever NaN or infinite. The stage counts such cells in
`metrics/features/<set>.json`.

- η are the normalised central moments of the cell's mask, p = η30 + η12, q = η21 + η03. Where |h| ≤ {HU_NOISE:g}, which
  is mostly rounding error, the feature is 0.
- The hue counts degrees from green (120° on the colour wheel), which no stain shows, so that no cell's hues straddle
  its jump from 360 to 0.
- P is the share of pairs of neighbouring pixels that have grey levels i and j (0 to {GREY_LEVELS - 1}, from OpenCV's
  8-bit grey), counted both ways, both pixels in the cell; µ and σ are its margin's mean and standard deviation.
- The local binary patterns have 8 neighbours at radius 1, the diagonal ones interpolated, as in scikit-image.

The columns v1 and v2 give a feature's place in each set; § is a section of the report.

| feature | v1 | v2 | definition | unit | source |
| --- | ---: | ---: | --- | --- | --- |"""

FOOT = """
- Benkrid, Crookes: Design and FPGA Implementation of a Perimeter Estimator, The Queen's University of Belfast; it is
  `skimage.measure.perimeter`.
- Bikhet 2000: Segmentation and Classification of White Blood Cells, ICASSP.
- Haralick 1973: Textural Features for Image Classification, IEEE Trans. on Systems, Man, and Cybernetics 3(6).
- Hu 1962: Visual Pattern Recognition by Moment Invariants, IRE Trans. on Information Theory 8(2).
- Ojala 2002: Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local Binary Patterns, IEEE
  Trans. on Pattern Analysis and Machine Intelligence 24(7).
"""
