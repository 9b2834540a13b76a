"""Handcrafted features, against values computed by hand and against scikit-image's."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.draw import disk, ellipse

from benchmarks.features_oracle import ORACLES, outline
from stages import features as stage
from study import of_the_report
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv, write_npz
from wbc.core.tables import mark, read_features
from wbc.features import SETS, count_degenerate, feature_set
from wbc.features.measures import shape
from wbc.segment import method
from wbc.synthetic import draw

OURS = ("v1", "v2", "v3", "v4")  # a user may have added others
MASKS = {"v1": "hsv", "v2": "lab"}  # of the sets with an oracle


def mask_of(cell, nucleus=np.s_[:0]):
    mask = np.zeros((120, 140), np.uint8)
    mask[cell], mask[nucleus] = 1, 2
    return mask


def noise(shape=(120, 140), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def flat(mask, *colours):
    """An image with one colour for each value of the mask, or for all."""
    return np.array(colours * 3 if len(colours) == 1 else colours, np.uint8)[mask]


def measure(name, image, mask):
    return dict(zip(feature_set(name).NAMES, feature_set(name).extract(image, mask), strict=True))


v1, v2, v3, v4 = (partial(measure, name) for name in OURS)


def pick(values, pattern):
    return {name: value for name, value in values.items() if re.fullmatch(pattern, name)}


ROUND = mask_of(disk((60, 70), 40), disk((60, 70), 20))
LOPSIDED = mask_of(ellipse(60, 70, 30, 45, rotation=0.5), disk((55, 80), 18))  # without any symmetry
LOPSIDED[disk((80, 60), 15)] = 1
DOT = mask_of(np.s_[60, 70])
DEGENERATE = {
    "empty": mask_of(np.s_[:0]),
    "one pixel": DOT,
    "one pixel, all nucleus": 2 * DOT,
    "one pixel in a corner": mask_of(np.s_[0, 0]),
    "a line": mask_of(np.s_[60, 10:100]),
    "a diagonal": np.eye(120, 140, dtype=np.uint8),
    "two far corners": mask_of((np.array([0, 119]), np.array([0, 139]))),
    "nucleus of one pixel": mask_of(disk((60, 70), 20)) + DOT,
    "cytoplasm of one pixel": 2 * mask_of(disk((60, 70), 20)) - DOT,
    "no nucleus": mask_of(disk((60, 70), 20)),
    "no cytoplasm": 2 * mask_of(disk((60, 70), 20)),
    "everything": 2 * mask_of(np.s_[:]),
}


# --- all sets


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mask", [LOPSIDED, *DEGENERATE.values()], ids=["lopsided", *DEGENERATE])
@pytest.mark.parametrize("name", SETS)
def test_every_feature_of_any_cell_is_finite(name, mask):
    for image in (noise(), np.zeros((120, 140, 3), np.uint8)):
        values = feature_set(name).extract(image, mask)
        assert (values.shape, values.dtype) == ((len(feature_set(name).NAMES),), np.float64)
        assert np.isfinite(values).all()


def test_the_sets_count_as_in_the_report_and_agree_on_what_they_share():
    names = of_the_report("v2")
    assert (len(set(of_the_report("v1"))), len(set(names))) == (9, 89)
    groups = ["color" if re.search("_[rgbhsv]_", f"{name}_") else name.split("_")[0] for name in names]
    assert [groups.count(group) for group in ("color", "glcm", "lbp")] == [39, 20, 10]  # and 20 of shape
    first, second, third = (extract(noise(), LOPSIDED) for extract in (v1, v2, v3))
    shared = first.keys() & second.keys()
    assert len(shared) == 7
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}
    assert list(third.items())[: len(second)] == list(second.items())
    assert len(third) == len(second) + 31


@pytest.mark.parametrize("name", OURS)
def test_an_image_of_another_size_than_its_mask_is_refused(name):
    for value in (0, 1):
        with pytest.raises(ValueError, match="height and width must agree"):
            feature_set(name).extract(noise((50, 40)), np.full((40, 50), value, np.uint8))


def test_what_is_missing_is_zero():
    assert not any(value for extract in (v1, v2, v3, v4) for value in extract(noise(), DEGENERATE["empty"]).values())
    bare, full = (v3(noise(), DEGENERATE[kind]) for kind in ("no nucleus", "no cytoplasm"))
    assert not any(pick(bare, "(nucleus|chromatin)_.*").values())
    assert bare["cytoplasm_area"] == bare["cell_area"] > 0
    assert not any(pick(full, "cytoplasm_.*").values())
    assert full["nucleus_cell_ratio"] == 1
    dot = v2(noise(), DEGENERATE["nucleus of one pixel"])
    assert (dot["nucleus_area"], dot["nucleus_circularity"], dot["nucleus_lobes"]) == (1, 0, 1)


KINDS = {
    "empty": {"empty"}, "one pixel": {"one_pixel", "no_nucleus"}, "nucleus of one pixel": {"one_pixel_nucleus"},
    "one pixel, all nucleus": {"one_pixel", "one_pixel_nucleus", "no_cytoplasm"}, "cytoplasm of one pixel": set(),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "expected"), KINDS.items())
def test_degenerate_cells_are_counted_by_kind(kind, expected):
    first, second = (
        count_degenerate(pd.DataFrame([extract(noise(), mask) for mask in (ROUND, DEGENERATE[kind], LOPSIDED)]))
        for extract in (v1, v2)
    )
    assert {name for name, count in second.items() if count == 1} == expected
    assert set(first) == {"empty", "one_pixel"}  # v1 has no nuclei


# --- against scikit-image

# Counts of pixels are equal, the rest within rounding errors. A circle's eccentricity is the root of one.
EXACT, ROOT_OF_ROUNDING = r"(.*_)?(area|perimeter|solidity|lobes)", r"(.*_)?eccentricity"


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert pick(ours, EXACT) == pytest.approx(pick(theirs, EXACT), rel=1e-12, abs=0)
    assert pick(ours, ROOT_OF_ROUNDING) == pytest.approx(pick(theirs, ROOT_OF_ROUNDING), rel=1e-6, abs=1e-7)
    others = f"(?!({EXACT}|{ROOT_OF_ROUNDING})$).*"
    assert pick(ours, others) == pytest.approx(pick(theirs, others), rel=1e-6, abs=1e-12)


def assert_as_scikit_image(name, image, mask):
    ours, theirs = measure(name, image, mask), ORACLES[name](image, mask)
    assert set(theirs) == set(of_the_report(name))
    assert_close({feature: ours[feature] for feature in theirs}, theirs)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("label", CLASSES)
def test_drawn_cells_measure_as_by_scikit_image(label, name):
    for seed, size in enumerate((120, 200, 368)):
        image, mask = draw(label, size, np.random.default_rng([seed, CLASSES.index(label)]))
        assert_as_scikit_image(name, image, mask)
        assert_as_scikit_image(name, image, method(MASKS[name]).segment(image))


def test_odd_regions_measure_as_by_scikit_image():
    """Also regions with several parts, holes, bridges of one pixel and every corner of the convex hull."""
    for kind in ("a line", "a diagonal", "two far corners", "one pixel in a corner", "everything"):
        for name in MASKS:
            assert_as_scikit_image(name, noise(), DEGENERATE[kind])
    rng = np.random.default_rng(0)
    for _ in range(300):
        inside = rng.random(rng.integers(1, 15, 2)) < rng.choice([0.1, 0.3, 0.6, 0.9])
        region = np.pad(inside.astype(np.uint8), 1)
        assert_close(shape(region), outline(region))


# --- by hand: v1 and v2


def test_shape_and_hu_moments_of_a_rectangle():
    """Its normalised central moments are (n² - 1) / 12 over the area along each side, and 0 above the second order."""
    values = v2(noise(), mask_of(np.s_[10:30, 10:50]))
    assert values["cell_area"] == 20 * 40
    assert values["cell_perimeter"] == 2 * 19 + 2 * 39  # between the centres of the outermost pixels
    assert values["cell_circularity"] == pytest.approx(4 * np.pi * 800 / 116**2)
    assert values["cell_solidity"] == 1
    across, along = (20**2 - 1) / 12 / 800, (40**2 - 1) / 12 / 800
    assert values["hu_1"] == pytest.approx(-np.log10(across + along))
    assert values["hu_2"] == pytest.approx(-np.log10((along - across) ** 2))
    assert all(values[f"hu_{i}"] == 0 for i in range(3, 8))
    triangle = np.pad(np.tril(np.ones((20, 20), np.uint8)), 10)
    assert v2(noise(triangle.shape), triangle)["hu_7"] == 0  # by symmetry


@pytest.mark.parametrize("scale", [1, 3])
def test_lobes(scale):
    def lobes(*discs, bridges=()):
        nucleus = np.zeros((120 * scale, 140 * scale), np.uint8)
        for row, column, radius in discs:
            nucleus[disk((row * scale, column * scale), radius * scale, shape=nucleus.shape)] = 1
        for (y1, x1), (y2, x2) in bridges:
            cv2.line(nucleus, (x1 * scale, y1 * scale), (x2 * scale, y2 * scale), 1, thickness=5 * scale)
        return v2(noise(nucleus.shape), (1 + nucleus).astype(np.uint8))["nucleus_lobes"]

    assert lobes() == 0
    assert lobes((60, 70, 30)) == 1
    assert lobes((60, 0, 30)) == 1  # cut by the border of the image
    assert lobes((60, 70, 30), (20, 20, 5)) == 1  # with a speck beside it
    three = [(40, 40, 15), (80, 60, 13), (45, 100, 14)]
    assert lobes(*three, bridges=[((40, 40), (80, 60)), ((80, 60), (45, 100))]) == 3
    assert lobes((60, 50, 20), (60, 70, 20), (60, 90, 20)) == 1  # a band with shallow waists


def test_colours_are_measured_on_their_own_region():
    image = flat(ROUND, (255, 255, 255), (200, 100, 50), (100, 0, 200))
    values = v2(image, ROUND)
    p = values["nucleus_cell_ratio"]
    assert [values[f"cytoplasm_{c}_mean"] for c in "rgb"] == [200, 100, 50]
    assert [values[f"nucleus_{c}_mean"] for c in "rgb"] == [100, 0, 200]
    assert not any(pick(values, "(nucleus|cytoplasm)_._std").values())
    red, green, blue = 200 - 100 * p, 100 - 100 * p, 50 + 150 * p
    assert [values[f"cell_{c}_mean"] for c in "rgb"] == pytest.approx([red, green, blue])
    assert [values[f"cell_{c}_std"] for c in "rb"] == pytest.approx([d * np.sqrt(p * (1 - p)) for d in (100, 150)])
    ratios = [values[f"ratio_{name}"] for name in ("r_g", "r_b", "g_b")]
    assert ratios == pytest.approx([red / green, red / blue, green / blue])


def test_hue_counts_degrees_from_green():
    for colour, hsv in {
        (0, 0, 255): (120, 255, 255), (128, 0, 255): (150, 255, 255),
        (200, 100, 200): (180, 127.5, 200), (255, 0, 0): (240, 255, 255),
    }.items():  # fmt: skip
        values = v2(flat(ROUND, colour), ROUND)
        assert [values[f"cell_{c}_mean"] for c in "hsv"] == pytest.approx(hsv, abs=1)
    image = flat(ROUND, (200, 20, 50))  # 350°
    image[::2] = (200, 50, 20)  # 10°
    values = v2(image, ROUND)
    assert (values["cell_h_mean"], values["cell_h_std"]) == pytest.approx((240, 10), abs=1)


def test_glcm_of_stripes():
    """Pairs across black and white columns are 31 levels apart, pairs along them are equal."""
    mask, image = mask_of(np.s_[10:50, 20:60]), np.zeros((120, 140, 3), np.uint8)
    image[:, ::2] = 255
    values = v2(image, mask)
    expected = {"contrast": 31**2, "dissimilarity": 31, "homogeneity": 1 / (1 + 31**2), "correlation": -1}
    for name, value in (expected | {"energy": np.sqrt(1 / 2)}).items():
        assert [values[f"glcm_{name}_{angle}"] for angle in (0, 45, 135)] == pytest.approx([value] * 3)
    along = [values[f"glcm_{name}_90"] for name in (*expected, "energy")]
    assert along == pytest.approx([0, 0, 1, 1, np.sqrt(1 / 2)])
    means = v1(image, mask)
    assert means["glcm_contrast"] == pytest.approx(3 / 4 * 31**2)
    assert means["glcm_homogeneity"] == pytest.approx((1 + 3 / (1 + 31**2)) / 4)


# --- by hand: v3 and v4


def test_bays_of_the_nucleus():
    def bays(nucleus):
        return list(pick(v3(noise(), 1 + nucleus), r"nucleus_bay.*").values())

    disc = mask_of(disk((60, 70), 30))
    assert bays(disc)[3] == 0
    assert bays(disc)[0] < 0.05  # a disc of pixels is not exactly round
    notched = disc.copy()
    notched[50:70, 70:] = 0  # from the rim to the middle
    mouth = np.sqrt(30**2 - 10**2)  # distance of the hull's edge; the blur takes up to 2 px of the depth
    assert bays(notched)[:3] == pytest.approx([mouth / np.sqrt(np.count_nonzero(notched) / np.pi), 0, 0], abs=0.1)
    assert bays(notched)[3] == 1
    lobes = mask_of(disk((60, 48), 20)) | mask_of(disk((60, 92), 20)) | mask_of(np.s_[55:65, 48:92])
    deep = 15 / np.sqrt(np.count_nonzero(lobes) / np.pi)  # on both sides of a bridge of 10 px between discs of 40
    assert bays(lobes) == pytest.approx([deep, deep, 0, 2], abs=0.11)
    assert bays(notched | mask_of(disk((15, 15), 6)))[3] == 1  # a speck does not count


def test_chromatin_is_measured_without_its_surroundings():
    image = flat(ROUND, (200, 200, 200))
    image[ROUND == 2] = np.where(np.indices(ROUND.shape)[1] % 2, 40, 100)[ROUND == 2, None]
    values, inner = v3(image, ROUND), v2(image, mask_of(disk((60, 70), 20)))
    for name in ("contrast", "homogeneity", "energy", "correlation", "dissimilarity"):
        mean = np.mean(list(pick(inner, rf"glcm_{name}_\d+").values()))
        assert values[f"chromatin_glcm_{name}"] == pytest.approx(mean, rel=0.01)
    assert sum(pick(values, r"chromatin_lbp_\d").values()) == pytest.approx(1)
    assert values["chromatin_r_skew"] == pytest.approx(0, abs=0.1)  # half of the pixels each


def test_skewness_of_the_chromatin_s_density():
    image = flat(ROUND, (99, 99, 99), (99, 99, 99), (99, 9, 99))
    inside = np.argwhere(ROUND == 2)
    image[tuple(inside[::10].T)] = 99  # in green, a density lower by 1 in a tenth of the pixels
    values, p = v3(image, ROUND), len(inside[::10]) / len(inside)
    assert values["chromatin_g_skew"] == pytest.approx(-(1 - 2 * p) / np.sqrt(p * (1 - p)), rel=0.02)  # Bernoulli
    assert values["chromatin_r_skew"] == values["chromatin_b_skew"] == 0


def test_grain_is_of_the_cytoplasm_alone_and_by_scale():
    image = flat(ROUND, (250, 250, 250), (90, 160, 200), (30, 30, 30))
    assert max(pick(v3(image, ROUND), "cytoplasm_._grain_.").values()) < 1e-6
    columns = np.indices(ROUND.shape)[1]
    for period, scale in ((2, 1), (8, 3)):  # a cell of radius 40: blurs of 0.6, 1.2 and 2.4 px
        image[..., 0] = np.where(columns % period < period // 2, 99, 9)  # densities 1 apart
        values = v3(image, ROUND)
        red = pick(values, "cytoplasm_r_grain_.")
        assert max(red, key=red.get) == f"cytoplasm_r_grain_{scale}"
        assert 0.2 < red[f"cytoplasm_r_grain_{scale}"] < 0.5
        assert max(pick(values, "cytoplasm_[gb]_grain_.").values()) < 1e-6


def test_v4_divides_by_the_slide_and_scales_the_cell():
    mask = mask_of(np.s_[80:110, 20:50], np.s_[90:100, 30:40])
    image = flat(mask, (200, 180, 220), (100, 90, 110), (50, 45, 55))
    image[:60] = (20, 20, 20)  # not slide
    values = v4(image, mask)
    for name, expected in {"cytoplasm": 255 / 2, "nucleus": 255 / 4}.items():
        assert [values[f"{name}_{c}_mean"] for c in "rgb"] == pytest.approx([expected] * 3, rel=0.08), name
    assert values["cell_area"] == pytest.approx(np.pi / 4 * 75**2, rel=0.02)
    assert values["nucleus_cell_ratio"] == pytest.approx(1 / 9, rel=0.05)
    for everything in (np.ones((40, 50), np.uint8), np.ones((1, 20_000), np.uint8)):  # the cell fills the image
        values = v4(flat(everything, (200, 180, 220)), everything)
        assert set(pick(values, "cytoplasm_[rgb]_mean").values()) == {255}


# --- the stage


def test_the_stage_writes_every_cell_in_the_manifest_s_order_and_counts_degenerate_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masks = {f"cell {i}": mask for i, mask in enumerate([ROUND, *DEGENERATE.values(), LOPSIDED])}
    images, rows = {id: noise(seed=i) for i, id in enumerate(masks)}, []
    for id, image in images.items():
        content = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        Path(f"{id}.png").write_bytes(content)
        rows.append((id, f"{id}.png", hashlib.sha256(content).hexdigest(), ""))
    write_csv("data/ingest/other/manifest.csv", ["id", "path", "sha256", "mask"], rows[::-1])
    write_npz("data/masks/other/lab.npz", masks.items())
    mark(Path("data/masks/other"), "other")
    monkeypatch.setattr(stage, "load", lambda _: SimpleNamespace(masks=dict.fromkeys(OURS, "lab")))
    stage.main("other")
    degenerate = 0
    for name in OURS:
        table = read_features("other", name)
        assert list(table.index) == list(masks)[::-1]
        assert tuple(table.columns) == feature_set(name).NAMES
        np.testing.assert_array_equal(table, [feature_set(name).extract(images[id], masks[id]) for id in table.index])
        degenerate += sum(count_degenerate(table).values())
    assert json.loads(Path("data/features/other.json").read_text())["degenerate"] == degenerate > 0
