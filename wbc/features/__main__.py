"""Prints docs/features.md: `python -m wbc.features > docs/features.md`."""

from wbc.features import SETS, feature_set
from wbc.features.definitions import GREY_LEVELS, HU_NOISE
from wbc.features.sets.v3 import SMOOTH
from wbc.features.sets.v4 import DIAMETER


def markdown() -> str:
    """The text of docs/features.md."""
    names = {name: feature_set(name).NAMES for name in SETS}
    features = {feature.name: feature for name in reversed(SETS) for feature in feature_set(name).TABLE}
    rows = []
    for name, feature in features.items():
        places = (str(of.index(name) + 1) if name in of else "" for of in names.values())
        texts = (text.replace("|", "\\|") for text in feature[1:])
        rows.append(f"| `{name}` | {' | '.join((*places, *texts))} |")
    columns = " | ".join(("feature", *SETS, "definition", "unit", "source"))
    return "\n".join([HEAD, f"| {columns} |", f"| --- | {'---: | ' * len(SETS)}--- | --- | --- |", *rows, FOOT])


HEAD = f"""# The handcrafted features

Written by `python -m wbc.features > docs/features.md` from the tables in `wbc/features/sets/`.

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

- A radius is √(area / π). The nucleus of bays and chromatin is the mask's after a blur by {SMOOTH:g} cell radii; the
  cytoplasm of the grain is the rest of the cell. A bay lies between the outline of the nucleus's largest part and its
  convex hull. An optical density is −log₁₀((value + 1) / 256).

- `v4` is `v3` of the cell scaled to a diameter of {DIAMETER} pixels, on a white slide: for images of several
  laboratories. It is not in `params.yaml`; `-S '+features.v4.masks=polar'` adds it and its classifiers.

The columns v1 to v4 give a feature's place in each set; § is a section of the report.
"""

FOOT = """
- Benkrid, Crookes: Design and FPGA Implementation of a Perimeter Estimator, The Queen's University of Belfast; it is
  `skimage.measure.perimeter`.
- Bikhet 2000: Segmentation and Classification of White Blood Cells, ICASSP.
- Haralick 1973: Textural Features for Image Classification, IEEE Trans. on Systems, Man, and Cybernetics 3(6).
- Hu 1962: Visual Pattern Recognition by Moment Invariants, IRE Trans. on Information Theory 8(2).
- Ojala 2002: Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local Binary Patterns, IEEE
  Trans. on Pattern Analysis and Machine Intelligence 24(7).
"""


if __name__ == "__main__":
    print(markdown(), end="")
