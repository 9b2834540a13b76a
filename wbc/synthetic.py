"""The built-in data source: synthetic blood smears with exact cell and nucleus masks.

A smear is painted as stained layers in optical density (Beer-Lambert; 0 is clear glass) and then illuminated:
image = light * exp(-stain * density). Thickness and stain strength are therefore plain factors.

An entry of `MORPHOLOGY` describes each class. Everything else in an image (red cells, light, focus, position) is drawn
independently of the class. Maturation is a continuum, so neighbouring classes are as hard to separate as real ones: the
stage of a cell is drawn around its class's place in the lineage, and its morphology interpolated between the two
nearest classes (report §4.4 and §7.2: the confusions are BNE/SNE, MMY/MY/PMY and PLY/LY).

Morphology after Bain, "Blood Cells: A Practical Guide" (5th ed., 2015), chapters 3 and 9.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd

from wbc.core.classes import TABLE_1
from wbc.core.parallel import parallel_map

SUPERSAMPLE = 2  # painted at twice the size and averaged, for anti-aliasing
LIGHT = (250, 225, 200)  # RGB of the empty background under the reference stain
RED_CELL = (196, 155, 154)
RED_SPACING = 0.215  # between red cells, in frame widths: about a diameter
NUCLEUS = (92, 50, 136)
PLATELET = (150, 95, 165)


@dataclass(frozen=True)
class Morphology:
    """The traits of a class: (mean, sd) of each, or a colour as seen over the reference background.

    Lengths are in cell radii, except the cell radius itself (in frame widths). The nucleus is a bent chain of discs. It
    can be round (length 0), a kidney, a band (bent, long) or segmented (pinched).
    """

    cytoplasm: tuple[int, int, int]
    granule: tuple[int, int, int] = (150, 80, 160)
    radius: tuple[float, float] = (0.19, 0.015)
    irregular: tuple[float, float] = (0.04, 0.015)  # amplitude of the outline's waves
    width: tuple[float, float] = (0.65, 0.05)  # half-thickness of the nucleus
    length: tuple[float, float] = (0.25, 0.10)  # of the nucleus's backbone
    bend: tuple[float, float] = (0.3, 0.2)  # radians the backbone turns from end to end
    lobes: tuple[float, float] = (2.0, 0.0)
    pinch: tuple[float, float] = (0.05, 0.03)  # 0: even thickness, 1: separate lobes
    offset: tuple[float, float] = (0.12, 0.06)  # of the nucleus from the cell's centre
    density: tuple[float, float] = (1.0, 0.06)  # of the nuclear stain
    clumps: tuple[float, float] = (0.5, 0.08)  # contrast of the chromatin, 0 fine to 1 clumped
    nucleoli: tuple[float, float] = (0.0, 0.3)  # number
    granularity: tuple[float, float] = (0.1, 0.05)  # fraction of the cytoplasm covered by granules
    grain: tuple[float, float] = (0.024, 0.002)  # size of a granule
    overlay: tuple[float, float] = (0.0, 0.05)  # opacity of the granules over the nucleus
    rim: tuple[float, float] = (0.1, 0.05)  # extra stain at the cell's edge
    hof: tuple[float, float] = (0.0, 0.05)  # pale Golgi zone beside the nucleus
    vacuoles: tuple[float, float] = (0.0, 0.4)  # number
    stage: tuple[float, float] = (0.0, 0.34)  # maturity, in classes along the lineage


MORPHOLOGY = {
    # Granulocytes, in order of maturation: the cell shrinks, its cytoplasm turns from blue to pink, primary granules
    # and nucleoli disappear, and the nucleus is indented (MMY), bent (BNE) and finally pinched into lobes (SNE).
    "PMY": Morphology(cytoplasm=(160, 138, 178), granule=(102, 48, 140), radius=(0.222, 0.018), width=(0.66, 0.04),
        length=(0.22, 0.08), offset=(0.20, 0.06), clumps=(0.40, 0.06), nucleoli=(1.4, 0.6), granularity=(0.38, 0.06),
        overlay=(0.5, 0.12), hof=(0.25, 0.1), rim=(0.25, 0.08)),
    "MY": Morphology(cytoplasm=(186, 156, 180), granule=(118, 62, 148), radius=(0.205, 0.016), width=(0.60, 0.04),
        length=(0.30, 0.08), bend=(0.4, 0.2), offset=(0.27, 0.06), clumps=(0.55, 0.07), nucleoli=(0.2, 0.4),
        granularity=(0.28, 0.05), overlay=(0.2, 0.1), hof=(0.15, 0.1)),
    "MMY": Morphology(cytoplasm=(208, 172, 184), granule=(140, 82, 155), radius=(0.200, 0.015), width=(0.44, 0.04),
        length=(1.00, 0.12), bend=(1.9, 0.35), pinch=(0.10, 0.05), offset=(0.24, 0.06), clumps=(0.65, 0.07),
        granularity=(0.18, 0.04)),
    "BNE": Morphology(cytoplasm=(221, 186, 186), granule=(168, 112, 160), radius=(0.195, 0.015), width=(0.30, 0.025),
        length=(1.95, 0.2), bend=(3.7, 0.6), lobes=(2.6, 0.5), pinch=(0.20, 0.08), clumps=(0.75, 0.07),
        granularity=(0.18, 0.04), grain=(0.022, 0.002), density=(1.05, 0.06), stage=(0.0, 0.28)),
    "SNE": Morphology(cytoplasm=(223, 188, 186), granule=(172, 116, 160), radius=(0.194, 0.015), width=(0.34, 0.025),
        length=(2.4, 0.2), bend=(4.2, 0.7), lobes=(3.2, 0.6), pinch=(0.84, 0.06), clumps=(0.8, 0.07),
        granularity=(0.18, 0.04), grain=(0.022, 0.002), density=(1.08, 0.06), stage=(0.0, 0.28)),
    # Mononuclear cells, each next to the class it is confused with: monocyte, activated and resting lymphocyte,
    # prolymphocyte (a lymphocyte with one clear nucleolus), blast (fine chromatin, several nucleoli, scant cytoplasm).
    "MO": Morphology(cytoplasm=(178, 160, 180), granule=(145, 98, 160), radius=(0.222, 0.018), irregular=(0.06, 0.02),
        width=(0.53, 0.04), length=(0.90, 0.15), bend=(1.8, 0.5), pinch=(0.22, 0.1), density=(0.84, 0.05),
        clumps=(0.55, 0.07), granularity=(0.16, 0.04), grain=(0.022, 0.002), vacuoles=(2.4, 1.4)),
    "VLY": Morphology(cytoplasm=(162, 152, 190), radius=(0.225, 0.022), irregular=(0.09, 0.02), width=(0.58, 0.05),
        length=(0.35, 0.12), bend=(0.6, 0.4), offset=(0.25, 0.08), density=(0.92, 0.06), clumps=(0.55, 0.08),
        nucleoli=(0.3, 0.5), granularity=(0.02, 0.02), rim=(0.55, 0.15), vacuoles=(0.4, 0.6)),
    "LY": Morphology(cytoplasm=(164, 150, 184), radius=(0.152, 0.012), irregular=(0.05, 0.02), width=(0.84, 0.05),
        length=(0.16, 0.06), clumps=(0.65, 0.08), density=(1.08, 0.06), granularity=(0.02, 0.02), nucleoli=(0.1, 0.35),
        rim=(0.3, 0.1)),
    "PLY": Morphology(cytoplasm=(160, 147, 184), radius=(0.172, 0.013), irregular=(0.05, 0.02), width=(0.77, 0.04),
        length=(0.16, 0.06), clumps=(0.55, 0.08), granularity=(0.01, 0.02), nucleoli=(1.1, 0.25), rim=(0.3, 0.1)),
    "BL": Morphology(cytoplasm=(148, 136, 180), radius=(0.205, 0.02), irregular=(0.05, 0.02), width=(0.81, 0.03),
        length=(0.16, 0.06), clumps=(0.30, 0.05), density=(0.80, 0.05), granularity=(0.01, 0.02), nucleoli=(2.5, 0.8),
        rim=(0.35, 0.1)),
    # Classes that resemble no other: EO has large orange-red granules and two lobes, BA dark purple granules that hide
    # the nucleus, PC an eccentric clock-face nucleus and deep blue cytoplasm with a pale hof.
    "EO": Morphology(cytoplasm=(206, 154, 166), granule=(166, 92, 122), radius=(0.205, 0.015), width=(0.37, 0.03),
        length=(1.35, 0.12), bend=(1.8, 0.5), lobes=(2.1, 0.3), pinch=(0.85, 0.06), offset=(0.22, 0.08),
        granularity=(0.60, 0.06), grain=(0.027, 0.002), clumps=(0.7, 0.07)),
    "BA": Morphology(cytoplasm=(200, 160, 184), granule=(62, 30, 112), radius=(0.195, 0.015), width=(0.52, 0.05),
        length=(0.7, 0.15), bend=(1.5, 0.5), pinch=(0.35, 0.15), granularity=(0.40, 0.07), grain=(0.030, 0.002),
        overlay=(0.7, 0.12), density=(0.85, 0.08)),
    "PC": Morphology(cytoplasm=(122, 108, 168), radius=(0.200, 0.016), irregular=(0.08, 0.02), width=(0.49, 0.03),
        length=(0.12, 0.05), offset=(0.40, 0.05), clumps=(0.95, 0.06), density=(1.08, 0.06), granularity=(0.01, 0.01),
        hof=(0.6, 0.12), rim=(0.3, 0.1), vacuoles=(0.3, 0.6)),
}  # fmt: skip


@dataclass(frozen=True)
class Laboratory:
    """How the slides and the microscope of a laboratory change an image, besides the variation between slides."""

    stain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor of the optical density in red, green and blue
    light: tuple[int, int, int] = LIGHT  # RGB of the empty background
    zoom: float = 1.0  # factor of the cell's size in the frame
    blur: float = 1.0  # factor of the blur
    noise: float = 1.0  # factor of the sensor's noise


OWN = Laboratory()
EXTERNAL = Laboratory(stain=(0.8, 1.0, 1.5), light=(232, 230, 238), zoom=1.25, blur=1.5, noise=1.5)
LINEAGES = (("PMY", "MY", "MMY", "BNE", "SNE"), ("MO", "VLY", "LY", "PLY", "BL"), ("EO",), ("BA",), ("PC",))


def draw(label: str, size: int, rng: np.random.Generator, laboratory: Laboratory = OWN) -> tuple[np.ndarray, ...]:
    """Draw a stained white blood cell among red cells.

    All lengths scale with `size`, so the same generator state gives the same smear at any size.

    Args:
        label: one of `wbc.core.classes.CLASSES`.
        size: edge of the square image, in pixels.
        rng: the only source of randomness.
        laboratory: whose slide and microscope to simulate.

    Returns:
        The image, (size, size, 3) uint8 RGB, and the mask of the cell before blur and noise, (size, size) uint8:
        0 background, 1 cytoplasm, 2 nucleus.
    """
    slide = np.zeros((size * SUPERSAMPLE, size * SUPERSAMPLE, 3), np.float32)
    _paint_surroundings(slide, rng)
    shapes = _paint_cell(slide, _draw_traits(label, rng), rng)
    margin = round(len(slide) * (1 - 1 / laboratory.zoom) / 2)
    seen = slice(margin, len(slide) - margin)
    in_cell, in_nucleus = (
        cv2.resize(shape[seen, seen].astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) >= 0.5
        for shape in shapes
    )
    return _photograph(slide[seen, seen], size, rng, laboratory), in_cell.astype(np.uint8) + in_nucleus


def class_counts(total: int, minimum: int) -> dict[str, int]:
    """Scale the report's Table 1 to about `total` images, rounded, with at least `minimum` images of each class."""
    scale = total / sum(TABLE_1.values())
    return {label: max(minimum, round(count * scale)) for label, count in TABLE_1.items()}


def write_dataset(
    folder: Path, counts: dict[str, dict[str, int]], size: int, seed: int, laboratory: Laboratory = OWN
) -> None:
    """Draw a dataset into a folder, on all cores.

    Writes `labels.csv` (ID, labels, part: train or test), `images/<ID>.jpg` and `masks/<ID>.png` (see `draw`). IDs
    number the images in random order. Each image has its own generator, so the bytes depend only on the arguments.

    Args:
        folder: created if missing.
        counts: number of images by part and class.
        size: edge of the images, in pixels.
        seed: of all random numbers. The two laboratories draw different cells from the same seed.
        laboratory: `OWN` or `EXTERNAL`.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    rows = [(label, part) for part, of in counts.items() for label, count in of.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=["labels", "part"])
    table.insert(0, "ID", [f"{i:06d}" for i in range(len(table))])

    stream = (OWN, EXTERNAL).index(laboratory)
    tasks = ((folder, row.ID, row.labels, size, [seed, row.Index, stream], laboratory) for row in table.itertuples())
    list(parallel_map(_write_image, tasks, len(table), "draw"))
    table.to_csv(folder / "labels.csv", index=False, lineterminator="\n")


def _write_image(folder: Path, name: str, label: str, size: int, seed: list[int], laboratory: Laboratory) -> None:
    image, mask = draw(label, size, np.random.default_rng(seed), laboratory)
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    (folder / "images" / f"{name}.jpg").write_bytes(jpeg)  # cv2.imwrite would not raise an error on a full disk
    (folder / "masks" / f"{name}.png").write_bytes(cv2.imencode(".png", mask)[1])


def _draw_traits(label: str, rng: np.random.Generator) -> SimpleNamespace:
    """Draw the stage of a cell in its lineage, and each trait around the mean interpolated there."""
    lineage = next(names for names in LINEAGES if label in names)
    stage = lineage.index(label) + _truncated_normal(*MORPHOLOGY[label].stage, rng)
    stage = min(max(stage, 0), len(lineage) - 1)
    before, after = (vars(MORPHOLOGY[lineage[int(f(stage))]]) for f in (np.floor, np.ceil))
    cell = {}
    for trait, value in before.items():
        value = np.add(value, stage % 1 * np.subtract(after[trait], value))
        cell[trait] = _density(value) if len(value) == 3 else max(0.0, _truncated_normal(*value, rng))
    return SimpleNamespace(**cell)


def _truncated_normal(mean: float, sd: float, rng: np.random.Generator) -> float:
    return float(mean + sd * np.clip(rng.standard_normal(), -2, 2))


def _density(colour: tuple[int, int, int]) -> np.ndarray:
    return -np.log(np.divide(colour, LIGHT)).astype(np.float32)


def _paint_surroundings(slide: np.ndarray, rng: np.random.Generator) -> None:
    """Paint red cells and platelets, at a distance from the middle of the frame that does not depend on the cell."""
    clear = rng.uniform(0.25, 0.31)
    crowding, pallor = rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.95)
    nodes = (np.arange(6) - 0.5 + rng.random()) * RED_SPACING
    for node in np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2):
        centre = node + rng.normal(0, 0.035, 2)
        radius, waves = rng.normal(0.106, 0.008), _waves(0.06, rng)
        if rng.random() > crowding or np.hypot(*(centre - 0.5)) < clear:
            continue
        view, u, v = _window(slide, centre, radius, 1.2)
        dimple = pallor * np.exp(-18 * (u * u + v * v) ** 2)
        thickness = (1 - dimple) * np.clip(-_outline(u, v, waves) / 0.07, 0, 1)
        layer = _density(RED_CELL) * thickness[..., None]
        view[:] = np.maximum(view, layer) + 0.3 * np.minimum(view, layer)  # overlapping cells flatten
    for _ in range(rng.poisson(0.6)):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(clear, 0.6)
        centre = 0.5 + distance * np.array([np.cos(angle), np.sin(angle)])
        view, u, v = _window(slide, centre, rng.uniform(0.016, 0.027), 1.5)
        thickness = np.clip(-_outline(u, v, _waves(0.2, rng)) / 0.4, 0, 1) * rng.uniform(0.8, 1.5)
        view += _density(PLATELET) * thickness[..., None]


def _paint_cell(slide: np.ndarray, cell: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Paint the white cell near the middle of the slide. Returns the shapes of cell and nucleus, (2, h, w) bool."""
    centre = 0.5 + rng.normal(0, 0.015, 2).clip(-0.04, 0.04)
    view, u, v = _window(slide, centre, cell.radius, 1.4)
    pixel = 1 / (cell.radius * len(slide))  # in cell radii
    turn = rng.uniform(0, 2 * math.pi)
    along = u * math.cos(turn) + v * math.sin(turn)  # from the cell's centre towards the nucleus
    across = v * math.cos(turn) - u * math.sin(turn)

    outline = _outline(u, v, _waves(cell.irregular, rng))
    nucleus = _chain(along - cell.offset, across, cell, rng) + 0.03 * _noise(u.shape, 8, rng)
    nucleus = np.maximum(nucleus, outline + 0.04)  # the nucleus stays inside the cell

    # Cytoplasm: mottled, dense at the rim, thin in the hof (on the nucleus's side of the centre) and in vacuoles.
    thickness = 1 + 0.12 * _noise(u.shape, 24, rng) + cell.rim * np.exp(outline / 0.12)
    hof = (along - cell.offset + 0.75 * cell.width) ** 2 + across**2
    thickness -= cell.hof * np.exp(-hof / 0.09)
    for _ in range(round(cell.vacuoles)):
        thickness *= 1 - 0.8 * _spot(u, v, 0.75, rng.uniform(0.06, 0.11), rng)
    painted = cell.cytoplasm * thickness[..., None]

    # Nucleus: clumps of chromatin with lighter gaps, a dense membrane, paler round nucleoli.
    chromatin = 0.6 * _noise(u.shape, 30, rng) + 0.8 * _noise(u.shape, 64, rng)
    thickness = 1 + (0.5 * cell.clumps * chromatin).clip(-0.35) + 0.25 * np.exp(-np.abs(nucleus) / 0.05)
    for _ in range(round(cell.nucleoli)):
        thickness *= 1 - 0.4 * _spot(along - cell.offset, across, 0.35, rng.uniform(0.13, 0.19), rng)
    in_nucleus = _coverage(nucleus, pixel)
    painted = _mix(painted, _density(NUCLEUS) * (cell.density * thickness[..., None]), in_nucleus)

    # Granules: the peaks of noise whose waves are as wide as a granule.
    peaks = _noise(u.shape, 1.4 / cell.grain, rng)
    specks = np.clip(1.5 * (peaks - np.quantile(peaks[::2, ::2], 1 - cell.granularity)), 0, 1)
    painted = _mix(painted, cell.granule, specks * (1 - (1 - cell.overlay) * in_nucleus))

    view[:] = _mix(view, painted, _coverage(outline, pixel))
    shapes = np.zeros((2, *slide.shape[:2]), bool)
    for shape, distance in zip(shapes, (outline, nucleus), strict=True):
        _window(shape, centre, cell.radius, 1.4)[0][:] = distance < 0
    return shapes


def _photograph(slide: np.ndarray, size: int, rng: np.random.Generator, laboratory: Laboratory) -> np.ndarray:
    """Apply the variation between slides and cameras: stain strength, lamp, focus and sensor noise."""
    stain = rng.normal(1, 0.08) * rng.normal(1, 0.04, 3) * laboratory.stain
    light = rng.normal(1, 0.015) * rng.normal(1, 0.007, 3) * laboratory.light
    ramp = np.linspace(-1, 1, size)
    gradient = 1 + rng.normal(0, 0.015) * ramp[:, None] + rng.normal(0, 0.015) * ramp
    image = cv2.resize(np.exp(slide * -stain.astype(np.float32)), (size, size), interpolation=cv2.INTER_AREA)
    image *= (gradient[..., None] * light).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.001, 0.0045) * laboratory.blur)
    image += rng.uniform(0.5, 2.5) * laboratory.noise * rng.standard_normal(image.shape, np.float32)
    return image.round().clip(0, 255).astype(np.uint8)


def _window(canvas: np.ndarray, centre: np.ndarray, radius: float, reach: float) -> tuple[np.ndarray, ...]:
    """A view of the canvas within `reach` radii of the centre, and the coordinates of its pixels in radii."""
    size = len(canvas)
    low, high = (np.round((centre + r * radius) * size).clip(0, size).astype(int) for r in (-reach, reach))
    x, y = (((np.arange(a, b) + 0.5) / size - c) / radius for a, b, c in zip(low, high, centre, strict=True))
    u, v = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return canvas[low[1] : high[1], low[0] : high[0]], u, v


def _waves(amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Complex Fourier coefficients of a closed outline, orders 2 to 6. Higher orders are weaker."""
    return amplitude * (rng.standard_normal((5, 2)).clip(-2, 2) @ [1, 1j]) / np.arange(1, 6) ** 1.3


def _outline(u: np.ndarray, v: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Approximate signed distance to a wavy circle of radius 1, negative inside."""
    distance = np.sqrt(u * u + v * v)
    turn = (u + 1j * v) / np.maximum(distance, 1e-6)  # exp(i angle): its powers are the Fourier basis
    power = turn
    for wave in waves.astype(np.complex64):
        power = power * turn
        distance -= (wave * power).real
    return distance - 1


def _chain(u: np.ndarray, v: np.ndarray, cell: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Signed distance to the nucleus, discs along a bent backbone that are smaller between lobes; negative inside."""
    t = np.linspace(0, 1, 25)
    heading = rng.uniform(0, 2 * np.pi) + cell.bend * t
    heading += rng.normal(0, 0.35) * np.sin(2 * np.pi * (t + rng.random()))
    x, y = (np.cumsum(f(heading)) * cell.length / len(t) for f in (np.cos, np.sin))
    width = cell.width * (1 - cell.pinch * np.cos(np.pi * round(cell.lobes) * t) ** 2)
    width *= 1 + rng.normal(0, 0.1) * np.sin(2 * np.pi * (t + rng.random()))
    discs = np.stack([x - x.mean(), y - y.mean(), width], 1).astype(np.float32)
    return np.min([np.sqrt((u - x) ** 2 + (v - y) ** 2) - r for x, y, r in discs], axis=0)


def _spot(u: np.ndarray, v: np.ndarray, reach: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Coverage of a soft round spot whose centre is within `reach` of the origin along either axis."""
    x, y = rng.uniform(-reach, reach, 2).tolist()
    return _coverage(np.hypot(u - x, v - y) - radius, 0.08)


def _noise(shape: tuple[int, int], waves: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit variance from a grid of `waves` points across, the same at every resolution."""
    grid = rng.standard_normal((round(waves), round(waves)), np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _coverage(distance: np.ndarray, softness: float) -> np.ndarray:
    """Fraction of each pixel inside a shape: a ramp of width `softness` across its edge."""
    return np.clip(0.5 - distance / softness, 0, 1)


def _mix(below: np.ndarray, above: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    return below + fraction[..., None] * (above - below)
