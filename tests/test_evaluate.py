"""Scores, intervals, calibration and corruptions, against hand-made cases and slower ways to the same numbers."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from wbc.core.classes import CLASSES
from wbc.report.calibration import calibration_tables
from wbc.report.cells import SHOWN, hardest
from wbc.report.study import Model
from wbc.robustness import CORRUPTIONS, corrupt
from wbc.scoring.calibration import BINS, apply_temperature, calibration, fit_temperature, reliability
from wbc.scoring.predictions import Predictions, write_predictions
from wbc.scoring.scores import accuracy, confusion_matrix, macro_f1, per_class, scores
from wbc.statistics import differences, intervals, pairwise_differences, patients, scores_with_intervals
from wbc.synthetic import draw


def some(counts, right, seed=0):
    """Targets with these class counts, and predictions of which about a fraction `right` is right."""
    rng = np.random.default_rng(seed)
    target = np.repeat(np.arange(len(counts)), counts)
    return target, np.where(rng.random(len(target)) < right, target, rng.integers(0, len(counts), len(target)))


def width(interval):
    return interval.high - interval.low


# --- scores


def test_scores_by_hand():
    target, predicted = np.array([0] * 6 + [1] * 5 + [2]), np.array([0] * 4 + [1] * 7 + [0])
    confusion = confusion_matrix(target, predicted)
    found = scores(confusion, confusion.sum(1))
    # F1: class 0 2·4/(6+5) = 8/11, class 1 2·5/(5+7) = 10/12, class 2 0; only class 2 has fewer than 5 images
    assert found["f1"] == macro_f1(target, predicted) == pytest.approx((8 / 11 + 10 / 12 + 0) / 3)
    assert found["f1_common"] == pytest.approx((8 / 11 + 10 / 12) / 2)
    assert found["accuracy"] == accuracy(target, predicted) == pytest.approx(9 / 12)
    table = per_class(confusion)
    assert table.index.tolist() == ["SNE", "LY", "MO"]
    assert table.loc["SNE"].tolist() == pytest.approx([4 / 6, 8 / 11, 6])
    target, predicted = some([50, 20, 9, 3], 0.6)
    assert macro_f1(target, predicted) == pytest.approx(f1_score(target, predicted, average="macro"))


def test_macro_f1_is_over_the_classes_of_the_targets_which_are_all_known():
    assert macro_f1(np.array([0, 5]), np.array([0, 5])) == 1
    assert macro_f1(np.array([0, 0, 5], np.int8), np.array([0, 7, 5])) == pytest.approx((2 / 3 + 1) / 2)
    for unknown, call in product((np.array([0, -1, 12]), np.array([0, 13, 12])), (macro_f1, intervals)):
        with pytest.raises(ValueError, match=r"invalid entry|negative"):
            call(unknown, np.array([0, 11, 12]))


# --- intervals


@pytest.mark.parametrize("stratified", [True, False])
def test_an_interval_is_that_of_resampling_the_images_one_by_one(stratified):
    target, predicted = some([60, 30, 15, 6, 3], 0.7)
    rng = np.random.default_rng(1)
    strata = [np.flatnonzero(target == c) for c in range(5)] if stratified else [np.arange(len(target))]
    drawn = []
    for _ in range(3000):
        chosen = np.concatenate([rng.choice(group, len(group)) for group in strata])
        drawn.append(scores(confusion_matrix(target[chosen], predicted[chosen]), np.bincount(target, minlength=13)))
    own_patient = None if stratified else np.arange(len(target))  # patients are not stratified
    for name, interval in intervals(target, predicted, own_patient).items():
        expected = np.quantile([draw[name] for draw in drawn], [0.025, 0.975])
        assert [interval.low, interval.high] == pytest.approx(expected, abs=0.015), name


def test_a_class_missing_from_a_draw_counts_0():
    target = np.array([0] * 50 + [1] * 50 + [2])  # all right; 37% of the plain draws have no image of class 2
    interval = intervals(target, target, np.arange(101))["f1"]
    assert (interval.value, interval.low, interval.high) == (1.0, pytest.approx(2 / 3), 1.0)
    assert intervals(target, target)["f1"].low == 1.0  # a stratified draw has every class


def test_patients_are_drawn_whole():
    target, predicted = some([200, 100], 0.7)
    alone = intervals(target, predicted, np.arange(300))
    target, predicted, pair = (np.tile(each, 2) for each in (target, predicted, np.arange(300)))
    as_images, as_pairs = intervals(target, predicted, np.arange(600)), intervals(target, predicted, pair)
    for name, interval in alone.items():
        assert width(as_pairs[name]) == pytest.approx(width(interval), rel=0.05)  # copies add no information
        assert width(as_images[name]) < 0.8 * width(interval)


def test_repeats_have_the_interval_of_their_mean_and_their_sd():
    rng = np.random.default_rng(5)
    target = np.repeat([0, 1, 2], 50)
    each = np.stack([np.where(rng.random(150) < right, target, 0) for right in (0.9, 0.8, 0.6)])
    found, alone = intervals(target, each), [intervals(target, one) for one in each]
    for name, it in found.items():
        values = [one[name].value for one in alone]
        assert (it.value, it.sd) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
        assert it.low < it.value < it.high
    assert alone[0]["f1"].sd is None
    same, once = intervals(target, each[[0, 0]])["f1"], alone[0]["f1"]  # the same repeat twice is no more evidence
    assert (same.low, same.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_scores_of_a_part_with_unknown_labels_rare_classes_and_patients():
    target = np.repeat(np.arange(13), [60] * 12 + [3])
    predicted = np.where(np.arange(len(target)) % 3 > 0, target, 0)
    unknown = np.where(np.arange(len(target)) < 30, -1, target)
    found = scores_with_intervals(unknown, predicted, None, "_tta")
    names = ("test_f1_tta", "test_accuracy_tta", "test_f1_common_tta")
    assert list(found) == [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    assert found["test_f1_tta"] == macro_f1(target[30:], predicted[30:])
    assert found["test_f1_tta_low"] < found["test_f1_tta"] < found["test_f1_tta_high"]
    grouped = scores_with_intervals(unknown, predicted, np.arange(len(target)) // 9, "_tta")
    assert grouped["test_f1_tta_low"] != found["test_f1_tta_low"]
    assert scores_with_intervals(np.full(3, -1), np.zeros(3, int), None, "") == {}


def test_patients_are_read_from_the_manifest():
    manifest = pd.DataFrame({"id": ["a", "b", "c", "d"], "group": ["p", "", "p", ""]})
    assert patients(manifest, ["d", "c", "b", "a"]).tolist() == ["image d", "patient p", "image b", "patient p"]
    assert patients(manifest, ["b", "d"]) is None


# --- differences


def test_other_class_frequencies_count_like_copies_of_the_images():
    """Three of each image of the first class, two of the second's: frequencies of 30, 40 and 5."""
    target, predicted = some([10, 20, 5], 0.6)
    other, copies = some([10, 20, 5], 0.4, seed=1)[1], np.repeat(np.arange(35), np.array([3, 2, 1])[target])
    frequencies = np.array([30.0, 40, 5, *[0] * 10])
    expected = scores(confusion_matrix(target[copies], predicted[copies]), np.bincount(target, minlength=13))
    found = intervals(target, predicted, frequencies=frequencies)
    assert [found[name].value for name in expected] == pytest.approx(list(expected.values()))
    assert found["f1"].low < found["f1"].value < found["f1"].high
    less = macro_f1(target[copies], predicted[copies]) - macro_f1(target[copies], other[copies])
    assert differences(target, predicted, other, frequencies=frequencies)["f1"].value == pytest.approx(less)


def test_a_difference_is_on_the_same_images():
    target, a = some([500, 300, 100], 0.8)
    same = differences(target, a, a)["f1"]
    assert (same.value, same.low, same.high, same.p, same.verdict) == (0, 0, 0, 1, "undecided")
    target = np.zeros(1000, int)
    a = np.where(np.arange(1000) < 800, 0, 1)
    b = np.where(np.arange(1000) < 780, 0, 1)  # 20 images fewer, all others alike
    found = differences(target, a, b)["accuracy"]
    assert found.value == pytest.approx(0.02)
    # sd of how many of 20 in 1000 images are drawn; of two independent models it would be four times as much
    assert width(found) == pytest.approx(2 * 1.96 * (1000 * 0.02 * 0.98) ** 0.5 / 1000, rel=0.1)
    assert found.verdict == "higher"
    assert differences(target, b, a)["accuracy"].verdict == "lower"


@pytest.mark.parametrize(("apart", "verdict"), [(5, "undecided"), (10, "higher")])
def test_p_is_that_of_swapping_by_hand(apart, verdict):
    target = np.zeros(100, int)
    b = np.where(np.arange(100) < apart, 1, 0)
    found = differences(target, target, b)["accuracy"]
    assert found.p == pytest.approx(2 / 2**apart, abs=0.006)  # all swaps to one side, or all to the other
    assert found.low > 0  # by the interval alone, five images would decide
    assert found.verdict == verdict
    two_patients = np.where(np.arange(100) < apart, np.arange(100) * 2 // apart, 2)
    assert differences(target, target, b, two_patients)["accuracy"].p == pytest.approx(0.5, abs=0.02)


def test_repeats_are_compared_by_their_means():
    target = np.repeat([0, 1], 100)
    good, bad = (np.where(np.arange(200) % 10 < tens, target, 1 - target) for tens in (9, 7))
    found = differences(target, np.stack([good, bad]), np.stack([bad, good]))["accuracy"]
    assert (found.value, found.p, found.verdict) == (pytest.approx(0), 1, "undecided")
    assert differences(target, good, np.stack([bad, good]))["accuracy"].value == pytest.approx(0.1)


def test_pairwise_differences_equal_those_of_two_models():
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(13), 20)
    fractions = (0.5, 0.7, 0.9)
    models = np.stack([np.where(rng.random(len(target)) < it, target, rng.permutation(target)) for it in fractions])
    for group in (None, np.arange(len(target)) // 4):
        value, low, high = pairwise_differences(target, models, group)
        assert np.allclose(np.diag(low), 0)
        assert np.allclose(low, -high.T)
        for i, j in ((0, 1), (2, 0)):
            alone = differences(target, models[i], models[j], group)["f1"]
            assert value[i] - value[j] == pytest.approx(alone.value)
            assert (low[i, j], high[i, j]) == pytest.approx((alone.low, alone.high), abs=0.005)


def test_the_hardest_images_are_those_that_most_models_get_wrong():
    target = np.array([0, 0, 0, 1, 1])
    assert hardest(target, [np.array([1, 0, 0, 1, 0]), np.array([1, 1, 0, 1, 1])]).tolist() == [0, 1, 4]
    assert hardest(target, []).tolist() == []
    many = np.zeros(SHOWN + 2, int)
    wrong = np.ones_like(many)
    assert hardest(many, [wrong, np.where(np.arange(len(many)) < 2, many, wrong)]).tolist() == list(range(2, SHOWN + 2))


# --- calibration


def test_reliability_by_hand():
    confidence = np.arange(30, 0, -1) / 40
    right = np.arange(30) % 4 == 0  # images 0, 4, 8, …: every other bin of two images has one that is right
    curve = reliability(right, confidence)
    assert curve.shape == (BINS, 3)
    assert curve[0].tolist() == [pytest.approx((1 / 40 + 2 / 40) / 2), 0.5, 2]  # images 29 and 28
    assert curve[1].tolist() == [pytest.approx((3 / 40 + 4 / 40) / 2), 0.0, 2]
    assert curve[:, 2].sum() == 30
    assert len(reliability(right[:4], confidence[:4])) == 4
    sizes = reliability(np.ones(1000, bool), np.full(1000, 0.5))[:, 2]  # ties, and 1000 is no multiple of 15
    assert set(sizes) == {66, 67}


def test_calibration_by_hand():
    p = 0.2 / 12
    probabilities = np.full((2, 13), p)
    probabilities[:, 0] = 0.8
    found = calibration(np.array([0, 1]), probabilities)
    assert found["ece"] == pytest.approx((abs(0.8 - 1) + abs(0.8 - 0)) / 2)  # fewer images than bins: one each
    assert found["nll"] == pytest.approx(-(np.log(0.8) + np.log(p)) / 2)
    assert found["brier"] == pytest.approx(((0.2**2 + 12 * p**2) + (0.8**2 + (1 - p) ** 2 + 11 * p**2)) / 2)
    # class 0: 0.2 and 0.8 off; class 1: p and 1 - p; the other eleven: p
    assert found["classwise_ece"] == pytest.approx((0.5 + 0.5 + 11 * p) / 13)


def overconfident(images, factor, seed=0):
    """Targets drawn from softmax(logits), and the probabilities of `factor` times the logits."""
    rng = np.random.default_rng(seed)
    true = apply_temperature(np.exp(2 * rng.standard_normal((images, 13))), 1.0)
    target = (rng.random((images, 1)) > true.cumsum(1)[:, :-1]).sum(1)
    return target, apply_temperature(true, 1 / factor).astype(np.float32)


@pytest.mark.parametrize("factor", [0.003, 0.6, 1.0, 2.0])
def test_the_temperature_undoes_a_factor_of_the_logits(factor):
    target, probabilities = overconfident(4000, factor)
    t = fit_temperature(target, probabilities)
    assert t == pytest.approx(factor, rel=0.06)
    before, after = (calibration(target, apply_temperature(probabilities, each)) for each in (1.0, t))
    assert after["nll"] <= before["nll"]
    assert after["ece"] == pytest.approx(after["ece_by_chance"], abs=0.01)  # as well as 4,000 images can show
    if factor != 1:
        assert before["ece"] > 4 * before["ece_by_chance"]
    assert fit_temperature(probabilities.argmax(1), probabilities) == 1.0  # all right: the likelihood has no maximum


def test_the_temperature_is_fitted_on_the_validation_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    validation, (target, probabilities) = overconfident(1000, 2.0), overconfident(1000, 2.0, seed=1)
    for repeat, half in enumerate((slice(500), slice(500, None))):  # the repeats are pooled
        parts = {"validation": validation, "test": (target[half], probabilities[half])}
        found = {name: Predictions(np.arange(len(t)).astype(str), t, p, p) for name, (t, p) in parts.items()}
        write_predictions(f"runs/a-{repeat}/predict/predictions.npz", found)
    models = [Model("a", "network", "a")]
    errors, curves = calibration_tables(SimpleNamespace(of_kind=lambda *kinds: models, repeats=range(2)))
    plain, tempered = errors[errors["probabilities"] == "plain"].to_dict("records")
    assert plain == {"row": "a", "probabilities": "plain", "temperature": 1, **calibration(target, probabilities)}
    assert tempered["temperature"] == fit_temperature(*validation) != fit_temperature(target, probabilities)
    corrected = calibration(target, apply_temperature(probabilities, tempered["temperature"]))
    assert tempered["nll"] == corrected["nll"]
    assert curves.groupby("probabilities")["images"].sum().to_dict() == {"plain": 1000, "with TTA": 1000}


# --- corruptions


@pytest.fixture(scope="module")
def cells():
    return np.stack([draw(name, 112, np.random.default_rng(0))[0] for name in CLASSES[:4]])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity_and_depends_on_image_and_seed(cells, name):
    before = cells.copy()
    corrupted = [corrupt(cells, name, severity) for severity in range(1, 6)]
    assert np.array_equal(cells, before)
    assert all(images.shape == cells.shape and images.dtype == np.uint8 for images in corrupted)
    change = [np.abs(images.astype(float) - cells).mean() for images in corrupted]
    assert 0 < change[0] < change[2] < change[4], change
    assert np.array_equal(corrupt(cells[[2, 0]], name, 3), corrupted[2][[2, 0]])
    if name in ("motion", "stain_deposit", "bubble"):
        assert not np.array_equal(corrupt(cells, name, 3, seed=1), corrupted[2])


def test_corruptions_by_hand():
    grey = np.full((1, 64, 64, 3), 100, np.uint8)
    for name in ("pixelate", "jpeg", "defocus", "motion", "contrast_up", "contrast_down"):
        assert np.array_equal(corrupt(grey, name, 5), grey), name  # nothing to blur or to stretch
    assert np.unique(corrupt(grey, "brightness_up", 5)) == [140]
    assert np.unique(corrupt(grey, "brightness_down", 5)) == [50]
    half = grey.copy()
    half[:, 32:] = 200  # mean 150
    assert np.unique(corrupt(half, "contrast_down", 5)).tolist() == [125, 175]
    pink = np.full((1, 8, 8, 3), [200, 100, 100], np.uint8)  # saturation (200 - 100) / 200
    assert np.unique(corrupt(pink, "saturate", 5)[..., 1]) == [60]  # 200 · (1 - 0.5 - 0.2)
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.unique(corrupt(stripes, "pixelate", 2)) == [100]  # blocks of two by two
    for side in (224, 112):  # lengths scale with the image
        dark = np.zeros((1, side, side, 3), np.uint8)
        dark[0, side // 2, side // 2] = 255
        wide = np.flatnonzero(corrupt(dark, "defocus", 5)[0, side // 2, :, 0])
        assert np.ptp(wide) == pytest.approx(2 * 6 * side / 224, abs=1)
