"""Features of drawn cells, against values worked out by hand and against scikit-image's."""

import hashlib
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.draw import disk, ellipse

from benchmarks.features_oracle import ORACLES, outline
from study import of_the_report
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv, write_npz
from wbc.core.tables import mark, read_features
from wbc.dataset.images import decode
from wbc.features import SETS, count_degenerate, feature_set
from wbc.features.measures import shape
from wbc.features.sets.v1 import extract as extract_v1
from wbc.features.sets.v2 import extract as extract_v2
from wbc.features.sets.v3 import extract as extract_v3
from wbc.segment import method
from wbc.synthetic import draw

V1, V2 = of_the_report("v1"), of_the_report("v2")
OURS = ("v1", "v2", "v3", "v4")  # somebody's own set, for which docs/ and CONTRIBUTING.md ask less, may lie beside them


def mask_of(cell, nucleus=None, shape=(120, 140)):
    mask = np.zeros(shape, np.uint8)
    mask[cell] = 1
    if nucleus is not None:
        mask[nucleus] = 2
    return mask


def noise(shape=(120, 140), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def flat(mask, colour):
    return np.full((*mask.shape, 3), colour, np.uint8)


def v1(image, mask):
    return dict(zip(feature_set("v1").NAMES, extract_v1(image, mask), strict=True))


def v2(image, mask):
    return dict(zip(feature_set("v2").NAMES, extract_v2(image, mask), strict=True))


def v3(image, mask):
    return dict(zip(feature_set("v3").NAMES, extract_v3(image, mask), strict=True))


def pick(values, pattern):
    return {name: value for name, value in values.items() if re.fullmatch(pattern, name)}


ROUND = mask_of(disk((60, 70), 40), disk((60, 70), 20))
# a lopsided cell with a lopsided nucleus: no symmetry hides an error
LOPSIDED = mask_of(ellipse(60, 70, 30, 45, rotation=0.5), disk((55, 80), 18))
LOPSIDED[disk((80, 60), 15)] = 1


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_grouped_as_in_the_report():
    assert len(set(V1)) == len(V1) == 9
    assert len(set(V2)) == len(V2) == 89
    groups = ["color" if re.search("_[rgbhsv]_", f"{n}_") else n.split("_")[0] for n in V2]
    colour, glcm, lbp = groups.count("color"), groups.count("glcm"), groups.count("lbp")
    assert (len(V2) - colour - glcm - lbp, colour, glcm, lbp) == (20, 39, 20, 10)


@pytest.mark.parametrize("name", SETS)
def test_a_set_measures_what_it_names(name):
    names, extract = feature_set(name).NAMES, feature_set(name).extract
    values = extract(noise(), LOPSIDED)
    assert values.shape == (len(names),)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()


def test_both_sets_agree_on_what_they_share():
    first, second = v1(noise(), LOPSIDED), v2(noise(), LOPSIDED)
    shared = first.keys() & second.keys()
    assert len(shared) == 7
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}
    for name in ("glcm_contrast", "glcm_homogeneity"):
        assert first[name] == pytest.approx(np.mean(list(pick(second, rf"{name}_\d+").values())))


# --- against scikit-image ---------------------------------------------------------------------------------------------

# What counts pixels is equal. The rest differs by rounding alone: 1e-13 in colours and textures, 1e-9 in Hu moments,
# which are differences of large sums. A circle's eccentricity is the root of a rounding error, so it may miss 0.
EXACT, ROOT_OF_ROUNDING = r"(.*_)?(area|perimeter|solidity|lobes)", r"(.*_)?eccentricity"


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert pick(ours, EXACT) == pytest.approx(pick(theirs, EXACT), rel=1e-12, abs=0)
    assert pick(ours, ROOT_OF_ROUNDING) == pytest.approx(pick(theirs, ROOT_OF_ROUNDING), rel=1e-6, abs=1e-7)
    others = f"(?!({EXACT}|{ROOT_OF_ROUNDING})$).*"
    assert pick(ours, others) == pytest.approx(pick(theirs, others), rel=1e-6, abs=1e-12)


def assert_as_scikit_image(name, image, mask):
    names, extract = feature_set(name).NAMES, feature_set(name).extract
    ours, theirs = dict(zip(names, extract(image, mask), strict=True)), ORACLES[name](image, mask)
    assert set(theirs) == set({"v1": V1, "v2": V2}[name])
    assert_close({feature: ours[feature] for feature in theirs}, theirs)


@pytest.mark.parametrize("label", CLASSES)
def test_drawn_cells_measure_as_by_scikit_image(label):
    for seed, size in enumerate((120, 200, 368)):
        image, mask = draw(label, size, np.random.default_rng([seed, CLASSES.index(label)]))
        for cell in (mask, method("lab").segment(image)):
            assert_as_scikit_image("v2", image, cell)
        for cell in (mask, method("hsv").segment(image)):
            assert_as_scikit_image("v1", image, cell)


def test_ragged_regions_have_scikit_image_s_shape():
    """Pixels thrown at random: parts, holes, bridges of one pixel, every corner of the convex hull."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        inside = rng.random(rng.integers(1, 15, 2)) < rng.choice([0.1, 0.3, 0.6, 0.9])
        region = np.pad(inside.astype(np.uint8), 1)
        assert_close(shape(region), outline(region))


@pytest.mark.skipif("WBC_REAL_DATA" not in os.environ, reason="WBC_REAL_DATA names no folder that holds pbc9/")
def test_real_cells_measure_as_by_scikit_image():
    paths = sorted(Path(os.environ["WBC_REAL_DATA"], "pbc9", "images").glob("*.jpg"))
    assert paths
    for path in paths:
        image = decode(path.read_bytes())
        for name, masks in (("v1", "hsv"), ("v2", "lab")):
            assert_as_scikit_image(name, image, method(masks).segment(image))


# --- shape ------------------------------------------------------------------------------------------------------------


def test_shape_of_a_rectangle():
    values = v2(noise(), mask_of(np.s_[10:30, 10:50]))
    assert values["cell_area"] == 20 * 40
    assert values["cell_perimeter"] == 2 * 19 + 2 * 39  # between the centres of the outermost pixels
    assert values["cell_circularity"] == pytest.approx(4 * np.pi * 800 / 116**2)
    assert values["cell_solidity"] == 1


def test_hu_moments_of_a_rectangle():
    """Its normalised central moments are (n² - 1) / 12 over the area along each side, and 0 beyond the second order."""
    values = v2(noise(), mask_of(np.s_[10:30, 10:50]))
    across, along = (20**2 - 1) / 12 / 800, (40**2 - 1) / 12 / 800
    assert values["hu_1"] == pytest.approx(-np.log10(across + along))
    assert values["hu_2"] == pytest.approx(-np.log10((along - across) ** 2))
    assert all(values[f"hu_{i}"] == 0 for i in range(3, 8))


def test_a_hu_moment_that_symmetry_makes_zero_is_zero():
    mask = mask_of(np.s_[:0])
    mask[10:30, 10:30] = np.tril(np.ones((20, 20)))
    assert v2(noise(), mask)["hu_7"] == 0


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
    assert lobes((60, 70, 30), (20, 20, 5)) == 1  # a speck beside it
    three = [(40, 40, 15), (80, 60, 13), (45, 100, 14)]
    assert lobes(*three, bridges=[((40, 40), (80, 60)), ((80, 60), (45, 100))]) == 3
    assert lobes((60, 50, 20), (60, 70, 20), (60, 90, 20)) == 1  # a band: its waists are nearly as wide as the rest


# --- colour -----------------------------------------------------------------------------------------------------------


def test_colours_are_measured_on_their_own_region():
    image = np.full((*ROUND.shape, 3), 255, np.uint8)
    image[ROUND == 1] = (200, 100, 50)
    image[ROUND == 2] = (100, 0, 200)
    values = v2(image, ROUND)
    share = values["nucleus_cell_ratio"]
    assert [values[f"cytoplasm_{c}_mean"] for c in "rgb"] == [200, 100, 50]
    assert [values[f"nucleus_{c}_mean"] for c in "rgb"] == [100, 0, 200]
    assert all(value == 0 for value in pick(values, "(nucleus|cytoplasm)_._std").values())
    red, green, blue = 200 - 100 * share, 100 - 100 * share, 50 + 150 * share
    assert [values[f"cell_{c}_mean"] for c in "rgb"] == pytest.approx([red, green, blue])
    assert values["cell_r_std"] == pytest.approx(100 * np.sqrt(share * (1 - share)))
    assert values["cell_b_std"] == pytest.approx(150 * np.sqrt(share * (1 - share)))
    ratios = [values[f"ratio_{name}"] for name in ("r_g", "r_b", "g_b")]
    assert ratios == pytest.approx([red / green, red / blue, green / blue])
    assert [v1(image, ROUND)[f"cell_{c}_mean"] for c in "rgb"] == pytest.approx([red, green, blue])


@pytest.mark.parametrize(
    ("colour", "degrees", "saturation", "value"),
    [
        ((0, 0, 255), 120, 255, 255),
        ((128, 0, 255), 150, 255, 255),
        ((200, 100, 200), 180, 127.5, 200),
        ((255, 0, 0), 240, 255, 255),
    ],
)
def test_hue_counts_degrees_from_green(colour, degrees, saturation, value):
    values = v2(flat(ROUND, colour), ROUND)
    expected = [degrees, saturation, value]
    assert [values[f"cell_{c}_mean"] for c in "hsv"] == pytest.approx(expected, abs=1)


def test_reds_on_both_sides_of_zero_average_to_red():
    image = flat(ROUND, (200, 20, 50))  # 350°
    image[::2] = (200, 50, 20)  # 10°
    values = v2(image, ROUND)
    assert values["cell_h_mean"] == pytest.approx(240, abs=1)
    assert values["cell_h_std"] == pytest.approx(10, abs=1)


# --- texture ----------------------------------------------------------------------------------------------------------


def test_glcm_of_stripes():
    """Columns of black and white: across them every pair is 31 levels apart, along them none is."""
    mask = mask_of(np.s_[10:50, 20:60])
    image = flat(mask, 0)
    image[:, ::2] = 255
    values = v2(image, mask)
    for angle in (0, 45, 135):
        assert values[f"glcm_contrast_{angle}"] == pytest.approx(31**2)
        assert values[f"glcm_dissimilarity_{angle}"] == pytest.approx(31)
        assert values[f"glcm_homogeneity_{angle}"] == pytest.approx(1 / (1 + 31**2))
        assert values[f"glcm_correlation_{angle}"] == pytest.approx(-1)
    assert values["glcm_contrast_90"] == values["glcm_dissimilarity_90"] == 0
    assert values["glcm_homogeneity_90"] == pytest.approx(1)
    assert values["glcm_correlation_90"] == pytest.approx(1)
    assert [values[f"glcm_energy_{angle}"] for angle in (0, 45, 90, 135)] == pytest.approx([np.sqrt(1 / 2)] * 4)
    assert v1(image, mask)["glcm_contrast"] == pytest.approx(3 / 4 * 31**2)
    assert v1(image, mask)["glcm_homogeneity"] == pytest.approx((1 + 3 / (1 + 31**2)) / 4)


def test_glcm_tells_the_diagonals_apart():
    mask = mask_of(np.s_[10:50, 20:60])
    rows, columns = np.indices(mask.shape)
    image = flat(mask, 0)
    image[(rows - columns) % 2 == 0] = 255  # a chessboard: a diagonal step changes nothing
    values = v2(image, mask)
    contrasts = [values[f"glcm_contrast_{angle}"] for angle in (0, 45, 90, 135)]
    assert contrasts == pytest.approx([31**2, 0, 31**2, 0])
    image[(rows - columns) % 3 != 0] = 0
    image[(rows - columns) % 3 == 0] = 255  # lines running right and down
    values = v2(image, mask)
    assert values["glcm_contrast_45"] == 0
    assert values["glcm_contrast_135"] > 100


def test_textures_of_the_background_do_not_count():
    smooth, rough = flat(LOPSIDED, 255), noise(seed=1)
    rough[LOPSIDED > 0] = smooth[LOPSIDED > 0] = noise(seed=2)[LOPSIDED > 0]
    a, b = v2(smooth, LOPSIDED), v2(rough, LOPSIDED)
    outside = r"(?!lbp).*"  # the patterns of the outermost pixels do look one pixel beyond
    assert pick(a, outside) == pick(b, outside)


# --- chromatin, bays, grain -------------------------------------------------------------------------------------------


def test_the_third_set_has_the_second_s_features_and_more():
    values, second = v3(noise(), LOPSIDED), v2(noise(), LOPSIDED)
    assert list(values.items())[: len(second)] == list(second.items())
    assert len(values) == len(second) + 31


def test_bays_of_the_nucleus():
    def bays(nucleus):
        return list(pick(v3(noise(), 1 + nucleus), r"nucleus_bay.*").values())

    disc = mask_of(disk((60, 70), 30))
    assert bays(disc)[3] == 0
    assert bays(disc)[0] < 0.05  # pixels are no circle
    notched = disc.copy()
    notched[50:70, 70:] = 0  # from the rim to the middle
    mouth = np.sqrt(30**2 - 10**2)  # the hull's edge spans it; the blur takes up to 2 px of the depth
    assert bays(notched)[:3] == pytest.approx([mouth / np.sqrt(np.count_nonzero(notched) / np.pi), 0, 0], abs=0.1)
    assert bays(notched)[3] == 1
    lobes = mask_of(disk((60, 48), 20)) | mask_of(disk((60, 92), 20)) | mask_of(np.s_[55:65, 48:92])
    deep = 15 / np.sqrt(np.count_nonzero(lobes) / np.pi)  # above and below the bridge, 10 px wide between discs of 40
    assert bays(lobes) == pytest.approx([deep, deep, 0, 2], abs=0.11)  # the blur takes some 2 px
    assert bays(notched | mask_of(disk((15, 15), 6)))[3] == 1  # of the largest part, not of the speck


def test_the_chromatin_is_the_nucleus_without_its_surroundings():
    image = flat(ROUND, 200)
    image[ROUND == 2] = np.where(np.indices(ROUND.shape)[1] % 2, 40, 100)[ROUND == 2, None]
    values = v3(image, ROUND)
    inner = mask_of(disk((60, 70), 20))
    texture = {name: value for name, value in v2(image, inner).items() if name.startswith("glcm")}
    for name in ("contrast", "homogeneity", "energy", "correlation", "dissimilarity"):
        mean = np.mean([texture[f"glcm_{name}_{angle}"] for angle in (0, 45, 90, 135)])
        assert values[f"chromatin_glcm_{name}"] == pytest.approx(mean, rel=0.01)
    assert sum(pick(values, r"chromatin_lbp_\d").values()) == pytest.approx(1)
    assert values["chromatin_r_skew"] == pytest.approx(0, abs=0.1)  # half and half


def test_skewness_of_the_chromatin_s_density():
    image = flat(ROUND, 99)
    image[ROUND == 2, 1] = 9  # green alone: a tenth is ten times as clear, and its density less by 1
    inside = np.argwhere(ROUND == 2)
    image[tuple(inside[::10].T)] = 99
    values, share = v3(image, ROUND), len(inside[::10]) / len(inside)
    expected = -(1 - 2 * share) / np.sqrt(share * (1 - share))  # of a coin that comes down on the lower side so often
    assert values["chromatin_g_skew"] == pytest.approx(expected, rel=0.02)
    assert values["chromatin_r_skew"] == values["chromatin_b_skew"] == 0


def test_grain_is_of_the_cytoplasm_alone_and_by_scale():
    image = flat(ROUND, (90, 160, 200))
    image[ROUND == 2] = 30
    image[ROUND == 0] = 250
    assert all(value < 1e-6 for value in pick(v3(image, ROUND), "cytoplasm_._grain_.").values())
    columns = np.indices(ROUND.shape)[1]
    for period, scale in ((2, 1), (8, 3)):  # a cell of radius 40: blurs of 0.6, 1.2 and 2.4 px
        image[..., 0] = np.where(columns % period < period // 2, 99, 9)
        values = pick(v3(image, ROUND), "cytoplasm_r_grain_.")
        assert max(values, key=values.get) == f"cytoplasm_r_grain_{scale}"
        assert 0.2 < values[f"cytoplasm_r_grain_{scale}"] < 0.5  # of densities that are 1 apart
        assert all(value < 1e-6 for value in pick(v3(image, ROUND), "cytoplasm_[gb]_grain_.").values())


# --- position and orientation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("extract", [v1, v2, v3])
def test_a_quarter_turn_only_exchanges_the_angles(extract):
    image = cv2.GaussianBlur(noise(), (0, 0), 2)
    before = extract(image, LOPSIDED)
    after = extract(np.rot90(image).copy(), np.rot90(LOPSIDED).copy())
    turned = {"0": "90", "45": "135", "90": "0", "135": "45"}
    expected = {re.sub(r"(?<=^glcm_)(.*_)(\d+)$", lambda m: m[1] + turned[m[2]], k): v for k, v in before.items()}
    assert after == pytest.approx(expected, rel=1e-6, abs=1e-9)
    if extract is v2:  # the test would show nothing if the angles were alike
        assert before["glcm_contrast_0"] != pytest.approx(before["glcm_contrast_90"], rel=1e-3)


# --- another laboratory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["EO", "SNE"])
def test_the_fourth_set_hardly_sees_light_and_magnification(label):
    image, mask = draw(label, 200, np.random.default_rng(3))
    larger = cv2.resize(np.rint(image * (1, 0.93, 0.85)).astype(np.uint8), (260, 260), interpolation=cv2.INTER_LINEAR)
    other = cv2.resize(mask, (260, 260), interpolation=cv2.INTER_NEAREST)
    third, fourth = (
        dict(zip(names.NAMES, np.abs(names.extract(larger, other) / names.extract(image, mask) - 1), strict=True))
        for names in (feature_set("v3"), feature_set("v4"))
    )
    assert np.median(list(third.values())) > 0.1
    assert np.median(list(fourth.values())) < 0.05
    assert third["cell_area"] > 0.6
    for name in ("cell_area", "nucleus_area", "cytoplasm_area", *(f"cytoplasm_{c}_mean" for c in "rgb")):
        assert fourth[name] < 0.02, name


def test_the_fourth_set_takes_the_slide_for_white_and_scales_the_cell():
    image = np.full((120, 140, 3), (200, 180, 220), np.uint8)
    image[:60] = (20, 20, 20)  # not slide
    mask = mask_of(np.s_[80:110, 20:50], np.s_[90:100, 30:40])
    image[mask == 1], image[mask == 2] = (100, 90, 110), (50, 45, 55)
    values = dict(zip(feature_set("v4").NAMES, feature_set("v4").extract(image, mask), strict=True))
    for name, expected in {"cytoplasm": 255 / 2, "nucleus": 255 / 4}.items():
        assert [values[f"{name}_{c}_mean"] for c in "rgb"] == pytest.approx([expected] * 3, rel=0.08), name
    assert values["cell_area"] == pytest.approx(np.pi / 4 * 75**2, rel=0.02)
    assert values["nucleus_cell_ratio"] == pytest.approx(1 / 9, rel=0.05)


@pytest.mark.parametrize("shape", [(40, 50), (1, 20_000)])
def test_the_fourth_set_takes_a_cell_that_fills_its_image(shape):
    image, everything = np.full((*shape, 3), (200, 180, 220), np.uint8), np.ones(shape, np.uint8)
    values = dict(zip(feature_set("v4").NAMES, feature_set("v4").extract(image, everything), strict=True))
    assert values["cytoplasm_r_mean"] == values["cytoplasm_g_mean"] == values["cytoplasm_b_mean"] == 255


# --- degenerate cells -------------------------------------------------------------------------------------------------

DOT, NUCLEUS_DOT = mask_of(np.s_[60, 70]), mask_of(disk((60, 70), 20), np.s_[60, 70])
DEGENERATE = {
    "empty": mask_of(np.s_[:0]),
    "one pixel": DOT,
    "one pixel, all nucleus": 2 * DOT,
    "one pixel in a corner": mask_of(np.s_[0, 0]),
    "two pixels": mask_of(np.s_[60, 70:72]),
    "a line": mask_of(np.s_[60, 10:100]),
    "a diagonal": np.eye(120, 140, dtype=np.uint8),
    "two far corners": mask_of((np.array([0, 119]), np.array([0, 139]))),
    "nucleus of one pixel": NUCLEUS_DOT,
    "cytoplasm of one pixel": np.where(NUCLEUS_DOT, 3 - NUCLEUS_DOT, 0).astype(np.uint8),
    "no nucleus": mask_of(disk((60, 70), 20)),
    "no cytoplasm": 2 * mask_of(disk((60, 70), 20)),
    "everything": 2 * mask_of(np.s_[:]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mask", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("image", [noise(), np.zeros((120, 140, 3), np.uint8)], ids=["noise", "black"])
@pytest.mark.parametrize("name", SETS)
def test_degenerate_cells_have_finite_features(name, image, mask):
    assert np.isfinite(feature_set(name).extract(image, mask)).all()


def test_what_is_not_there_is_zero():
    assert not extract_v1(noise(), DEGENERATE["empty"]).any()
    assert not extract_v2(noise(), DEGENERATE["empty"]).any()
    assert not extract_v3(noise(), DEGENERATE["empty"]).any()
    bare = v2(noise(), DEGENERATE["no nucleus"])
    assert not any(pick(bare, "nucleus_.*").values())
    assert not any(pick(v3(noise(), DEGENERATE["no nucleus"]), "(nucleus|chromatin)_.*").values())
    assert bare["cytoplasm_area"] == bare["cell_area"] > 0
    full = v2(noise(), DEGENERATE["no cytoplasm"])
    assert not any(pick(full, "cytoplasm_.*").values())
    assert not any(pick(v3(noise(), DEGENERATE["no cytoplasm"]), "cytoplasm_.*").values())
    assert full["nucleus_cell_ratio"] == 1
    dot = v2(noise(), NUCLEUS_DOT)
    assert (dot["nucleus_area"], dot["nucleus_circularity"], dot["nucleus_lobes"]) == (1, 0, 1)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("mask", [np.ones((40, 50), np.uint8), np.zeros((40, 50), np.uint8)], ids=["full", "empty"])
def test_an_image_of_another_size_than_its_mask_is_refused(name, mask):
    with pytest.raises(ValueError, match="height and width must agree"):
        feature_set(name).extract(noise((50, 40)), mask)


@pytest.mark.parametrize("name", ["a line", "a diagonal", "two far corners", "one pixel in a corner", "everything"])
def test_degenerate_cells_measure_as_by_scikit_image(name):
    assert_as_scikit_image("v2", noise(), DEGENERATE[name])
    assert_as_scikit_image("v1", noise(), DEGENERATE[name])


def table_of(name, masks):
    names, extract = feature_set(name).NAMES, feature_set(name).extract
    return pd.DataFrame([extract(noise(), mask) for mask in masks], columns=names)


KINDS = {
    "empty": {"empty"}, "one pixel": {"one_pixel", "no_nucleus"}, "no nucleus": {"no_nucleus"},
    "one pixel, all nucleus": {"one_pixel", "one_pixel_nucleus", "no_cytoplasm"}, "cytoplasm of one pixel": set(),
    "nucleus of one pixel": {"one_pixel_nucleus"}, "no cytoplasm": {"no_cytoplasm"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_cells_are_counted_by_kind(kind):
    counts = count_degenerate(table_of("v2", [ROUND, DEGENERATE[kind], LOPSIDED]))
    assert {name for name, count in counts.items() if count} == KINDS[kind]
    assert set(count_degenerate(table_of("v1", [ROUND]))) == {"empty", "one_pixel"}  # it has no nuclei


# --- the stage --------------------------------------------------------------------------------------------------------


def test_the_stage_writes_every_cell_in_the_manifest_s_order_and_counts_the_odd_ones(tmp_path, monkeypatch):
    from stages import features

    monkeypatch.chdir(tmp_path)
    masks = {f"cell {i}": mask for i, mask in enumerate([ROUND, *DEGENERATE.values(), LOPSIDED])}
    images = {id: noise(seed=i) for i, id in enumerate(masks)}
    rows = []
    for id, image in images.items():
        content = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        Path(f"{id}.png").write_bytes(content)
        rows.append((id, f"{id}.png", hashlib.sha256(content).hexdigest(), ""))
    write_csv("data/ingest/elsewhere/manifest.csv", ["id", "path", "sha256", "mask"], rows[::-1])
    write_npz("data/masks/elsewhere/lab.npz", masks.items())
    mark(Path("data/masks/elsewhere"), "elsewhere")
    settings = SimpleNamespace(masks=dict.fromkeys(OURS, "lab"))
    monkeypatch.setattr(features, "load", lambda stage: settings)
    features.main("elsewhere")
    counts = json.loads(Path("data/features/elsewhere.json").read_text())["degenerate"]
    odd = 0
    for name in OURS:
        table = read_features("elsewhere", name)
        assert list(table.index) == list(masks)[::-1]
        assert tuple(table.columns) == feature_set(name).NAMES
        for id, values in zip(table.index, table.to_numpy(), strict=True):
            np.testing.assert_array_equal(values, feature_set(name).extract(images[id], masks[id]))
        odd += sum(count_degenerate(table).values())
    assert counts == odd > 0
