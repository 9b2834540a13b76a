"""Blood smears drawn by the program: the built-in data source, with exact cell and nucleus masks.

A smear is a stack of stained layers, so the picture is painted in optical density (Beer-Lambert; 0 is clear glass) and
only lit at the end: image = light * exp(-stain * density). Thickness and stain strength are then plain factors.

What a class looks like is one entry of `MORPHOLOGY`; everything else about an image (red cells, light, focus, place)
is drawn without knowing the class. The classes are as hard to tell apart as the real ones because maturation is a
continuum: a cell's latent stage is drawn around its class's place in its lineage, and its morphology interpolated
between the two nearest classes (report, sections 4.4 and 7.2: the confusions are BNE/SNE, MMY/MY/PMY and PLY/LY).

Morphology after Bain, "Blood Cells: A Practical Guide" (5th ed., 2015), chapters 3 and 9.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES, TABLE_1
from wbc.core.parallel import parallel_map

SUPERSAMPLE = 2  # painted at twice the size, then averaged down: anti-aliasing
LIGHT = (250, 225, 200)  # RGB of the empty background under the reference stain
RED_CELL = (196, 155, 154)
RED_SPACING = 0.215  # frame widths: about a diameter
NUCLEUS = (92, 50, 136)
PLATELET = (150, 95, 165)


@dataclass(frozen=True)
class Morphology:
    """What one class looks like: (mean, sd) of each trait, or a colour as seen over the reference background.

    Lengths are in cell radii, except the cell radius itself (in frame widths). The nucleus is a bent chain of discs,
    which covers round (length 0), kidney, band (bent, long) and segmented (pinched) shapes alike.
    """

    cytoplasm: tuple[int, int, int]
    granule: tuple[int, int, int] = (150, 80, 160)
    radius: tuple[float, float] = (0.19, 0.015)
    irregular: tuple[float, float] = (0.04, 0.015)  # amplitude of the outline's waves
    width: tuple[float, float] = (0.65, 0.05)  # half-thickness of the nucleus
    length: tuple[float, float] = (0.25, 0.10)  # of its backbone
    bend: tuple[float, float] = (0.3, 0.2)  # radians the backbone turns from end to end
    lobes: tuple[float, float] = (2.0, 0.0)
    pinch: tuple[float, float] = (0.05, 0.03)  # 0: even thickness, 1: lobes come apart
    offset: tuple[float, float] = (0.12, 0.06)  # of the nucleus from the cell's centre
    density: tuple[float, float] = (1.0, 0.06)  # of the nuclear stain
    clumps: tuple[float, float] = (0.5, 0.08)  # contrast of the chromatin, 0 fine to 1 clumped
    nucleoli: tuple[float, float] = (0.0, 0.3)  # number of them
    granularity: tuple[float, float] = (0.1, 0.05)  # share of the cytoplasm under granules
    grain: tuple[float, float] = (0.024, 0.002)  # size of a granule
    overlay: tuple[float, float] = (0.0, 0.05)  # how much of the granules lies over the nucleus
    rim: tuple[float, float] = (0.1, 0.05)  # extra stain at the cell's edge
    hof: tuple[float, float] = (0.0, 0.05)  # pale Golgi zone beside the nucleus
    vacuoles: tuple[float, float] = (0.0, 0.4)  # number of them
    stage: tuple[float, float] = (0.0, 0.34)  # latent maturity, in classes along the lineage


MORPHOLOGY = {
    # Granulocytes, in order of maturation: the cell shrinks, its cytoplasm turns from blue to pink, primary granules
    # and nucleoli go, and the nucleus is indented (MMY), bent (BNE) and at last pinched into lobes (SNE).
    "PMY": Morphology(
        cytoplasm=(160, 138, 178), granule=(102, 48, 140), radius=(0.222, 0.018), width=(0.66, 0.04),
        length=(0.22, 0.08), offset=(0.20, 0.06), clumps=(0.40, 0.06), nucleoli=(1.4, 0.6),
        granularity=(0.38, 0.06), overlay=(0.5, 0.12), hof=(0.25, 0.1), rim=(0.25, 0.08),
    ),
    "MY": Morphology(
        cytoplasm=(186, 156, 180), granule=(118, 62, 148), radius=(0.205, 0.016), width=(0.60, 0.04),
        length=(0.30, 0.08), bend=(0.4, 0.2), offset=(0.27, 0.06), clumps=(0.55, 0.07), nucleoli=(0.2, 0.4),
        granularity=(0.28, 0.05), overlay=(0.2, 0.1), hof=(0.15, 0.1),
    ),
    "MMY": Morphology(
        cytoplasm=(208, 172, 184), granule=(140, 82, 155), radius=(0.200, 0.015), width=(0.44, 0.04),
        length=(1.00, 0.12), bend=(1.9, 0.35), pinch=(0.10, 0.05), offset=(0.24, 0.06), clumps=(0.65, 0.07),
        granularity=(0.18, 0.04), grain=(0.024, 0.002),
    ),
    "BNE": Morphology(
        cytoplasm=(221, 186, 186), granule=(168, 112, 160), radius=(0.195, 0.015), width=(0.30, 0.025),
        length=(1.95, 0.2), bend=(3.7, 0.6), lobes=(2.6, 0.5), pinch=(0.20, 0.08), clumps=(0.75, 0.07),
        granularity=(0.18, 0.04), grain=(0.022, 0.002), density=(1.05, 0.06), stage=(0.0, 0.28),
    ),
    "SNE": Morphology(
        cytoplasm=(223, 188, 186), granule=(172, 116, 160), radius=(0.194, 0.015), width=(0.34, 0.025),
        length=(2.4, 0.2), bend=(4.2, 0.7), lobes=(3.2, 0.6), pinch=(0.84, 0.06), clumps=(0.8, 0.07),
        granularity=(0.18, 0.04), grain=(0.022, 0.002), density=(1.08, 0.06), stage=(0.0, 0.28),
    ),
    # Mononuclear cells, each beside the class it is mistaken for: monocyte, activated and resting lymphocyte,
    # prolymphocyte (a lymphocyte with one clear nucleolus), blast (fine chromatin, several nucleoli, scant cytoplasm).
    "MO": Morphology(
        cytoplasm=(178, 160, 180), granule=(145, 98, 160), radius=(0.222, 0.018), irregular=(0.06, 0.02),
        width=(0.53, 0.04), length=(0.90, 0.15), bend=(1.8, 0.5), pinch=(0.22, 0.1), density=(0.84, 0.05),
        clumps=(0.55, 0.07), granularity=(0.16, 0.04), grain=(0.022, 0.002), vacuoles=(2.4, 1.4),
    ),
    "VLY": Morphology(
        cytoplasm=(162, 152, 190), radius=(0.225, 0.022), irregular=(0.09, 0.02),
        width=(0.58, 0.05), length=(0.35, 0.12), bend=(0.6, 0.4), offset=(0.25, 0.08), density=(0.92, 0.06),
        clumps=(0.55, 0.08), nucleoli=(0.3, 0.5), granularity=(0.02, 0.02), rim=(0.55, 0.15), vacuoles=(0.4, 0.6),
    ),
    "LY": Morphology(
        cytoplasm=(164, 150, 184), radius=(0.152, 0.012), irregular=(0.05, 0.02),
        width=(0.84, 0.05), length=(0.16, 0.06), clumps=(0.65, 0.08), density=(1.08, 0.06),
        granularity=(0.02, 0.02), nucleoli=(0.1, 0.35), rim=(0.3, 0.1),
    ),
    "PLY": Morphology(
        cytoplasm=(160, 147, 184), radius=(0.172, 0.013), irregular=(0.05, 0.02),
        width=(0.77, 0.04), length=(0.16, 0.06), clumps=(0.55, 0.08), granularity=(0.01, 0.02),
        nucleoli=(1.1, 0.25), rim=(0.3, 0.1),
    ),
    "BL": Morphology(
        cytoplasm=(148, 136, 180), radius=(0.205, 0.02), irregular=(0.05, 0.02),
        width=(0.81, 0.03), length=(0.16, 0.06), clumps=(0.30, 0.05), density=(0.80, 0.05),
        granularity=(0.01, 0.02), nucleoli=(2.5, 0.8), rim=(0.35, 0.1),
    ),
    # Cells with a look of their own.
    "EO": Morphology(  # large orange-red granules, two lobes
        cytoplasm=(206, 154, 166), granule=(166, 92, 122), radius=(0.205, 0.015), width=(0.37, 0.03),
        length=(1.35, 0.12), bend=(1.8, 0.5), lobes=(2.1, 0.3), pinch=(0.85, 0.06), offset=(0.22, 0.08),
        granularity=(0.60, 0.06), grain=(0.027, 0.002), clumps=(0.7, 0.07),
    ),
    "BA": Morphology(  # dark purple granules that hide the nucleus
        cytoplasm=(200, 160, 184), granule=(62, 30, 112), radius=(0.195, 0.015), width=(0.52, 0.05),
        length=(0.7, 0.15), bend=(1.5, 0.5), pinch=(0.35, 0.15), granularity=(0.40, 0.07), grain=(0.030, 0.002),
        overlay=(0.7, 0.12), density=(0.85, 0.08),
    ),
    "PC": Morphology(  # eccentric clock-face nucleus, deep blue cytoplasm with a pale hof
        cytoplasm=(122, 108, 168), radius=(0.200, 0.016), irregular=(0.08, 0.02),
        width=(0.49, 0.03), length=(0.12, 0.05), offset=(0.40, 0.05), clumps=(0.95, 0.06), density=(1.08, 0.06),
        granularity=(0.01, 0.01), hof=(0.6, 0.12), rim=(0.3, 0.1), vacuoles=(0.3, 0.6),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Laboratory:
    """How one laboratory's slides and microscope show a cell, beside what varies from slide to slide."""

    stain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor of the optical density in red, green and blue
    light: tuple[int, int, int] = LIGHT  # RGB of the empty background
    zoom: float = 1.0  # how much larger a cell is in the frame
    blur: float = 1.0  # factor of the blur
    noise: float = 1.0  # and of the sensor's


HOME = Laboratory()
AWAY = Laboratory(stain=(0.8, 1.0, 1.5), light=(232, 230, 238), zoom=1.25, blur=1.5, noise=1.5)

LINEAGES = (("PMY", "MY", "MMY", "BNE", "SNE"), ("MO", "VLY", "LY", "PLY", "BL"), ("EO",), ("BA",), ("PC",))


def draw(
    label: str, size: int, rng: np.random.Generator, laboratory: Laboratory = HOME
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one stained white blood cell among red cells.

    Every length scales with `size`, and the same generator state gives the same smear at any size.

    Args:
        label: one of `wbc.core.classes.CLASSES`.
        size: edge of the square image, in pixels.
        rng: the only source of randomness.
        laboratory: whose slide and microscope show it.

    Returns:
        The image, (size, size, 3) uint8 RGB, and the central cell's mask before blur and noise, (size, size) uint8:
        0 background, 1 cytoplasm, 2 nucleus.

    Raises:
        ValueError: the label is unknown.
    """
    if label not in MORPHOLOGY:
        raise ValueError(f"unknown label {label!r}: expected one of {', '.join(CLASSES)}")
    slide = np.zeros((size * SUPERSAMPLE, size * SUPERSAMPLE, 3), np.float32)
    _paint_surroundings(slide, rng)
    shapes = _paint_cell(slide, _individual(label, rng), rng)
    margin = round(len(slide) * (1 - 1 / laboratory.zoom) / 2)
    seen = slice(margin, len(slide) - margin)
    in_cell, in_nucleus = (
        cv2.resize(shape[seen, seen].astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) >= 0.5
        for shape in shapes
    )
    return _photograph(slide[seen, seen], size, rng, laboratory), in_cell.astype(np.uint8) + in_nucleus


def class_counts(total: int, minimum: int) -> dict[str, int]:
    """Scale the report's Table 1 to about `total` images.

    Each class gets its share, rounded, but at least `minimum`, so the sum may exceed `total`.
    """
    scale = total / sum(TABLE_1.values())
    return {label: max(minimum, round(count * scale)) for label, count in TABLE_1.items()}


def write_dataset(
    folder: Path, train: int, test: int, minimum_train: int, minimum_test: int, size: int, seed: int
) -> None:
    """Draw a long-tailed dataset into `folder`, on all cores.

    Writes `labels.csv` (ID, labels, part: train or test), `images/<ID>.jpg` and `masks/<ID>.png` (see `draw`). Each
    image has its own generator, so the bytes depend on the arguments only. IDs number the images in an order shuffled
    over classes and parts.

    Args:
        folder: created if missing.
        train: about how many training images, see `class_counts`.
        test: the same for the test part.
        minimum_train: least number of training images per class.
        minimum_test: least number of test images per class.
        size: edge of the images, in pixels.
        seed: of everything.
    """
    parts = {"train": class_counts(train, minimum_train), "test": class_counts(test, minimum_test)}
    _write_cells(Path(folder), parts, size, seed, HOME)


def write_external(folder: Path, test: int, minimum_test: int, size: int, seed: int) -> None:
    """Draw other cells as another laboratory shows them, `AWAY`, all in the test part, laid out as by `write_dataset`.

    Args:
        folder: created if missing.
        test: about how many images, see `class_counts`.
        minimum_test: least number of images per class.
        size: edge of the images, in pixels.
        seed: of everything; no cell is one of `write_dataset`'s.
    """
    _write_cells(Path(folder), {"test": class_counts(test, minimum_test)}, size, seed, AWAY)


def _write_cells(folder: Path, parts: dict[str, dict[str, int]], size: int, seed: int, laboratory: Laboratory) -> None:
    """Draw so many cells of each part and class."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    rows = [(label, part) for part, counts in parts.items() for label, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=["labels", "part"])
    table.insert(0, "ID", [f"{i:06d}" for i in range(len(table))])

    stream = (HOME, AWAY).index(laboratory)  # a last 0 changes nothing: the same as [seed, row.Index]
    tasks = ((folder, row.ID, row.labels, size, [seed, row.Index, stream], laboratory) for row in table.itertuples())
    for _ in parallel_map(_write_image, tasks, len(table), "draw"):
        pass
    table.to_csv(folder / "labels.csv", index=False, lineterminator="\n")


def _write_image(folder: Path, name: str, label: str, size: int, seed: list[int], laboratory: Laboratory) -> None:
    image, mask = draw(label, size, np.random.default_rng(seed), laboratory)
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    (folder / "images" / f"{name}.jpg").write_bytes(jpeg)  # unlike cv2.imwrite, complains when the disk is full
    (folder / "masks" / f"{name}.png").write_bytes(cv2.imencode(".png", mask)[1])


def _individual(label: str, rng: np.random.Generator) -> SimpleNamespace:
    """One cell's traits: a stage on its lineage, and each trait drawn around the mean interpolated there."""
    lineage = next(names for names in LINEAGES if label in names)
    stage = lineage.index(label) + _truncated(*MORPHOLOGY[label].stage, rng)
    stage = min(max(stage, 0), len(lineage) - 1)
    before, after = (vars(MORPHOLOGY[lineage[int(f(stage))]]) for f in (np.floor, np.ceil))
    cell = {}
    for trait, value in before.items():
        value = np.add(value, stage % 1 * np.subtract(after[trait], value))
        cell[trait] = _density(value) if len(value) == 3 else max(0.0, _truncated(*value, rng))
    return SimpleNamespace(**cell)


def _truncated(mean: float, sd: float, rng: np.random.Generator) -> float:
    return float(mean + sd * np.clip(rng.standard_normal(), -2, 2))


def _density(colour: tuple[int, int, int]) -> np.ndarray:
    return -np.log(np.divide(colour, LIGHT)).astype(np.float32)


def _paint_surroundings(slide: np.ndarray, rng: np.random.Generator) -> None:
    """Red cells and platelets, kept off the middle of the frame by a distance that ignores the cell to come."""
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
    """Paint the white cell near the middle of the slide; returns its shape and its nucleus's, (2, h, w) bool."""
    centre = 0.5 + rng.normal(0, 0.015, 2).clip(-0.04, 0.04)
    view, u, v = _window(slide, centre, cell.radius, 1.4)
    pixel = 1 / (cell.radius * len(slide))  # in cell radii
    turn = rng.uniform(0, 2 * math.pi)
    along = u * math.cos(turn) + v * math.sin(turn)  # from the cell's centre towards the nucleus
    across = v * math.cos(turn) - u * math.sin(turn)

    outline = _outline(u, v, _waves(cell.irregular, rng))
    nucleus = _chain(along - cell.offset, across, cell, rng) + 0.03 * _noise(u.shape, 8, rng)
    nucleus = np.maximum(nucleus, outline + 0.04)  # it never pokes out

    # Cytoplasm: mottled, denser at the rim, thin in the hof (on the nucleus's side of the centre) and in vacuoles.
    thickness = 1 + 0.12 * _noise(u.shape, 24, rng) + cell.rim * np.exp(outline / 0.12)
    hof = (along - cell.offset + 0.75 * cell.width) ** 2 + across**2
    thickness -= cell.hof * np.exp(-hof / 0.09)
    for _ in range(round(cell.vacuoles)):
        thickness *= 1 - 0.8 * _spot(u, v, 0.75, rng.uniform(0.06, 0.11), rng)
    painted = cell.cytoplasm * thickness[..., None]

    # Nucleus: clumps of chromatin with lighter gaps, a dense membrane, nucleoli as paler rounds.
    chromatin = 0.6 * _noise(u.shape, 30, rng) + 0.8 * _noise(u.shape, 64, rng)
    thickness = 1 + (0.5 * cell.clumps * chromatin).clip(-0.35) + 0.25 * np.exp(-np.abs(nucleus) / 0.05)
    for _ in range(round(cell.nucleoli)):
        thickness *= 1 - 0.4 * _spot(along - cell.offset, across, 0.35, rng.uniform(0.13, 0.19), rng)
    in_nucleus = _coverage(nucleus, pixel)
    painted = _mix(painted, _density(NUCLEUS) * (cell.density * thickness[..., None]), in_nucleus)

    # Granules: the peaks of a noise whose waves are as wide as a granule.
    peaks = _noise(u.shape, 1.4 / cell.grain, rng)
    specks = np.clip(1.5 * (peaks - np.quantile(peaks[::2, ::2], 1 - cell.granularity)), 0, 1)
    painted = _mix(painted, cell.granule, specks * (1 - (1 - cell.overlay) * in_nucleus))

    view[:] = _mix(view, painted, _coverage(outline, pixel))
    shapes = np.zeros((2, *slide.shape[:2]), bool)
    for shape, distance in zip(shapes, (outline, nucleus), strict=True):
        _window(shape, centre, cell.radius, 1.4)[0][:] = distance < 0
    return shapes


def _photograph(slide: np.ndarray, size: int, rng: np.random.Generator, laboratory: Laboratory) -> np.ndarray:
    """Stain strength, lamp, focus and sensor: what varies between slides and cameras."""
    stain = rng.normal(1, 0.08) * rng.normal(1, 0.04, 3) * laboratory.stain
    light = rng.normal(1, 0.015) * rng.normal(1, 0.007, 3) * laboratory.light
    ramp = np.linspace(-1, 1, size)
    gradient = 1 + rng.normal(0, 0.015) * ramp[:, None] + rng.normal(0, 0.015) * ramp
    image = cv2.resize(np.exp(slide * -stain.astype(np.float32)), (size, size), interpolation=cv2.INTER_AREA)
    image *= (gradient[..., None] * light).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.001, 0.0045) * laboratory.blur)
    image += rng.uniform(0.5, 2.5) * laboratory.noise * rng.standard_normal(image.shape, np.float32)
    return image.round().clip(0, 255).astype(np.uint8)


def _window(
    canvas: np.ndarray, centre: np.ndarray, radius: float, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A view of the canvas within `reach` radii of the centre, and its pixels' coordinates in radii."""
    size = len(canvas)
    low, high = (np.round((centre + r * radius) * size).clip(0, size).astype(int) for r in (-reach, reach))
    x, y = (((np.arange(a, b) + 0.5) / size - c) / radius for a, b, c in zip(low, high, centre, strict=True))
    u, v = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return canvas[low[1] : high[1], low[0] : high[0]], u, v


def _waves(amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Complex Fourier coefficients of a closed outline, orders 2 to 6; higher orders are weaker."""
    return amplitude * (rng.standard_normal((5, 2)).clip(-2, 2) @ [1, 1j]) / np.arange(1, 6) ** 1.3


def _outline(u: np.ndarray, v: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Signed distance, about, to a wavy circle of radius 1: negative inside."""
    distance = np.sqrt(u * u + v * v)
    turn = (u + 1j * v) / np.maximum(distance, 1e-6)  # exp(i angle), so its powers are the Fourier basis
    power = turn
    for wave in waves.astype(np.complex64):
        power = power * turn
        distance -= (wave * power).real
    return distance - 1


def _chain(u: np.ndarray, v: np.ndarray, cell: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Signed distance to the nucleus: discs along a bent backbone, thinner between lobes; negative inside."""
    t = np.linspace(0, 1, 25)
    heading = rng.uniform(0, 2 * np.pi) + cell.bend * t
    heading += rng.normal(0, 0.35) * np.sin(2 * np.pi * (t + rng.random()))
    x, y = (np.cumsum(f(heading)) * cell.length / len(t) for f in (np.cos, np.sin))
    width = cell.width * (1 - cell.pinch * np.cos(np.pi * round(cell.lobes) * t) ** 2)
    width *= 1 + rng.normal(0, 0.1) * np.sin(2 * np.pi * (t + rng.random()))
    discs = np.stack([x - x.mean(), y - y.mean(), width], 1).astype(np.float32)
    return np.min([np.sqrt((u - x) ** 2 + (v - y) ** 2) - r for x, y, r in discs], axis=0)


def _spot(u: np.ndarray, v: np.ndarray, reach: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Coverage of a soft round spot, its centre anywhere within `reach` of the origin along either axis."""
    x, y = rng.uniform(-reach, reach, 2).tolist()
    return _coverage(np.hypot(u - x, v - y) - radius, 0.08)


def _noise(shape: tuple[int, int], waves: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit variance from a grid of `waves` points across: the same at every resolution."""
    grid = rng.standard_normal((round(waves), round(waves)), np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _coverage(distance: np.ndarray, softness: float) -> np.ndarray:
    """Share of each pixel inside a shape: a ramp of width `softness` across its edge."""
    return np.clip(0.5 - distance / softness, 0, 1)


def _mix(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + share[..., None] * (above - below)
