"""Scores, intervals, calibration and corruptions, against hand-made cases and slower ways to the same numbers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from wbc.core.classes import CLASSES
from wbc.report.calibrated import calibrated
from wbc.report.mistakes import SHOWN, hardest
from wbc.report.study import Model
from wbc.robustness import CORRUPTIONS, corrupt
from wbc.scoring.calibration import BINS, calibration, reliability, scaled, temperature
from wbc.scoring.predictions import Predictions, write_predictions
from wbc.statistics import bounded, confusion_matrix, differences, every_pair, intervals, patients, scores
from wbc.synthetic import draw


def points(target, predicted):
    confusion = confusion_matrix(target, predicted)
    return scores(confusion, confusion.sum(1))


def some(counts, right, seed=0):
    """Targets with these class counts, and predictions of which about a share `right` is right."""
    rng = np.random.default_rng(seed)
    target = np.repeat(np.arange(len(counts)), counts)
    return target, np.where(rng.random(len(target)) < right, target, rng.integers(0, len(counts), len(target)))


def width(interval):
    return interval.high - interval.low


# --- scores


def test_scores_by_hand():
    target, predicted = np.array([0] * 6 + [1] * 5 + [2]), np.array([0] * 4 + [1] * 7 + [0])
    found = points(target, predicted)
    # F1: class 0 2·4/(6+5) = 8/11, class 1 2·5/(5+7) = 10/12, class 2 0; only class 2 has fewer than 5 images
    assert found["f1"] == pytest.approx((8 / 11 + 10 / 12 + 0) / 3)
    assert found["f1_common"] == pytest.approx((8 / 11 + 10 / 12) / 2)
    assert found["accuracy"] == pytest.approx(9 / 12)
    target, predicted = some([50, 20, 9, 3], 0.6)
    assert points(target, predicted)["f1"] == pytest.approx(f1_score(target, predicted, average="macro"))


def test_a_class_without_images_has_no_part_in_the_mean_but_claiming_it_costs():
    assert points(np.array([0, 5]), np.array([0, 5]))["f1"] == 1
    assert points(np.array([0, 0, 5]), np.array([0, 7, 5]))["f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_targets_of_any_integer_type_but_no_unknown_ones():
    target = np.array([0, 11, 12], np.int8)
    assert points(target, target)["f1"] == intervals(target, target)["f1"].low == 1
    for unknown in (np.array([0, -1, 12]), np.array([0, 13, 12])):
        with pytest.raises(ValueError, match=r"invalid entry|negative"):
            points(unknown, target)
        with pytest.raises(ValueError, match=r"invalid entry|negative"):
            intervals(unknown, target)


# --- intervals


def test_an_interval_is_that_of_resampling_the_images_one_by_one():
    target, predicted = some([60, 30, 15, 6, 3], 0.7)
    rng = np.random.default_rng(1)
    images = [np.flatnonzero(target == c) for c in range(5)]
    for stratified in (True, False):
        drawn = []
        for _ in range(3000):
            if stratified:
                chosen = np.concatenate([rng.choice(of_class, len(of_class)) for of_class in images])
            else:
                chosen = rng.integers(0, len(target), len(target))
            drawn.append(scores(confusion_matrix(target[chosen], predicted[chosen]), np.bincount(target, minlength=13)))
        for name, interval in intervals(target, predicted, stratified=stratified).items():
            expected = np.quantile([draw[name] for draw in drawn], [0.025, 0.975])
            assert [interval.low, interval.high] == pytest.approx(expected, abs=0.015), (name, stratified)


def test_a_class_that_a_draw_leaves_out_counts_0():
    target = np.array([0] * 50 + [1] * 50 + [2])  # all right; 37% of the plain draws have no image of class 2
    interval = intervals(target, target, stratified=False)["f1"]
    assert (interval.value, interval.low, interval.high) == (1.0, pytest.approx(2 / 3), 1.0)
    assert intervals(target, target)["f1"].low == 1.0  # a stratified draw has every class


def test_patients_are_drawn_whole():
    target, predicted = some([200, 100], 0.7)
    alone = intervals(target, predicted, stratified=False)
    of_one_each = intervals(target, predicted, np.arange(300))
    target, predicted, pair = (np.tile(of_each, 2) for of_each in (target, predicted, np.arange(300)))
    as_images, as_pairs = intervals(target, predicted, stratified=False), intervals(target, predicted, pair)
    for name, interval in alone.items():
        assert width(of_one_each[name]) == pytest.approx(width(interval), rel=0.05)
        assert width(as_pairs[name]) == pytest.approx(width(interval), rel=0.05)  # copies teach nothing
        assert width(as_images[name]) < 0.8 * width(interval)


# --- differences


def test_a_difference_is_of_the_same_images():
    target, a = some([500, 300, 100], 0.8)
    same = differences(target, a, a)["f1"]
    assert (same.value, same.low, same.high, same.p, same.verdict) == (0, 0, 0, 1, "undecided")
    target = np.zeros(1000, int)
    a = np.where(np.arange(1000) < 800, 0, 1)
    b = np.where(np.arange(1000) < 780, 0, 1)  # 20 images fewer, all others alike
    found = differences(target, a, b)["accuracy"]
    assert found.value == pytest.approx(0.02)
    # by hand: the sd of 20 of 1000 images' being drawn; of two independent rows it would be four times as much
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


def test_every_pair_differs_as_the_two_alone():
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(13), 20)
    shares = (0.5, 0.7, 0.9)
    rows = np.stack([np.where(rng.random(len(target)) < right, target, rng.permutation(target)) for right in shares])
    for group in (None, np.arange(len(target)) // 4):
        value, low, high = every_pair(target, rows, group)
        assert np.allclose(np.diag(low), 0)
        assert np.allclose(low, -high.T)
        for i, j in ((0, 1), (2, 0)):
            alone = differences(target, rows[i], rows[j], group)["f1"]
            assert value[i] - value[j] == pytest.approx(alone.value)
            assert (low[i, j], high[i, j]) == pytest.approx((alone.low, alone.high), abs=0.005)


def test_the_hardest_are_those_that_most_rows_get_wrong():
    target = np.array([0, 0, 0, 1, 1])
    assert hardest(target, [np.array([1, 0, 0, 1, 0]), np.array([1, 1, 0, 1, 1])]).tolist() == [0, 1, 4]
    assert hardest(target, []).tolist() == []
    many = np.zeros(SHOWN + 2, int)
    wrong = np.ones_like(many)
    assert hardest(many, [wrong, np.where(np.arange(len(many)) < 2, many, wrong)]).tolist() == list(range(2, SHOWN + 2))


def test_a_patient_swaps_whole():
    target = np.zeros(100, int)
    b = np.where(np.arange(100) < 10, 1, 0)
    two_patients = np.where(np.arange(100) < 10, np.arange(100) // 5, 2)
    assert differences(target, target, b, two_patients)["accuracy"].p == pytest.approx(0.5, abs=0.02)


# --- calibration


def test_reliability_by_hand():
    confidence = np.arange(30, 0, -1) / 40
    right = np.arange(30) % 4 == 0  # images 0, 4, 8, …: one bin of two in two has one that is right
    curve = reliability(right, confidence)
    assert curve.shape == (BINS, 3)
    assert curve[0].tolist() == [pytest.approx((1 / 40 + 2 / 40) / 2), 0.5, 2]  # images 29 and 28
    assert curve[1].tolist() == [pytest.approx((3 / 40 + 4 / 40) / 2), 0.0, 2]
    assert curve[:, 2].sum() == 30
    assert len(reliability(right[:4], confidence[:4])) == 4
    sizes = reliability(np.ones(1000, bool), np.full(1000, 0.5))[:, 2]  # ties, and 1000 is no multiple of 15
    assert set(sizes) == {66, 67}


def test_calibration_by_hand():
    probabilities = np.full((2, 13), 0.2 / 12)
    probabilities[:, 0] = 0.8
    found = calibration(np.array([0, 1]), probabilities)
    p = 0.2 / 12
    assert found["ece"] == pytest.approx((abs(0.8 - 1) + abs(0.8 - 0)) / 2)  # fewer images than bins: one each
    assert found["nll"] == pytest.approx(-(np.log(0.8) + np.log(p)) / 2)
    assert found["brier"] == pytest.approx(((0.2**2 + 12 * p**2) + (0.8**2 + (1 - p) ** 2 + 11 * p**2)) / 2)
    # class 0: 0.2 and 0.8 off; class 1: p and 1 - p; the other eleven: p
    assert found["classwise_ece"] == pytest.approx((0.5 + 0.5 + 11 * p) / 13)


def overconfident(images, factor, seed=0):
    """Targets drawn from softmax(logits), and the probabilities of `factor` times the logits."""
    rng = np.random.default_rng(seed)
    true = scaled(np.exp(2 * rng.standard_normal((images, 13))), 1.0)
    target = (rng.random((images, 1)) > true.cumsum(1)[:, :-1]).sum(1)
    return target, scaled(true, 1 / factor).astype(np.float32)


@pytest.mark.parametrize("factor", [0.003, 0.6, 1.0, 2.0])
def test_temperature_undoes_a_factor_of_the_logits(factor):
    target, probabilities = overconfident(4000, factor)
    heat = temperature(target, probabilities)
    assert heat == pytest.approx(factor, rel=0.06)
    before, after = (calibration(target, scaled(probabilities, t)) for t in (1.0, heat))
    assert after["nll"] <= before["nll"]
    assert after["ece"] == pytest.approx(after["ece_by_chance"], abs=0.01)  # as well as 4,000 images can show
    if factor != 1:
        assert before["ece"] > 4 * before["ece_by_chance"]


def test_where_all_are_right_no_temperature_is_best_and_the_probabilities_stay():
    _, probabilities = overconfident(50, 1.0)
    assert temperature(probabilities.argmax(1), probabilities) == 1.0


def of_networks(*repeats):
    """What `calibrated` makes of one network whose predictions of validation and test are written, of each repeat."""
    for repeat, parts in enumerate(repeats):
        found = {
            name: Predictions(np.arange(len(target)).astype(str), target, probabilities, probabilities)
            for name, (target, probabilities) in zip(("validation", "test"), parts, strict=True)
        }
        write_predictions(f"runs/a-{repeat}/predict/predictions.npz", found)
    kinds = {"network": [Model("a", "network", "a")], "blend": []}
    return calibrated(SimpleNamespace(of_kind=kinds.get, repeats=range(len(repeats))))


def test_a_temperature_of_1_has_its_lines_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wbc.report.calibrated.temperature", lambda *of_validation: 1.0)
    errors, _ = of_networks([overconfident(100, 2.0)] * 2)
    assert errors["probabilities"].tolist() == ["plain", "plain", "with TTA", "with TTA"]


def test_repeats_have_the_interval_of_their_mean_and_their_spread():
    rng = np.random.default_rng(5)
    target = np.repeat([0, 1, 2], 50)
    each = np.stack([np.where(rng.random(150) < right, target, 0) for right in (0.9, 0.8, 0.6)])
    found, alone = intervals(target, each), [intervals(target, one) for one in each]
    for name, it in found.items():
        values = [one[name].value for one in alone]
        assert (it.value, it.sd) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
        assert it.low < it.value < it.high
    assert alone[0]["f1"].sd is None
    same, once = intervals(target, each[[0, 0]])["f1"], alone[0]["f1"]  # twice the same is no more evidence than once
    assert (same.low, same.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_repeats_are_compared_by_their_means_on_the_same_images():
    target = np.repeat([0, 1], 100)
    good, bad = (np.where(np.arange(200) % 10 < tens, target, 1 - target) for tens in (9, 7))
    a, b = np.stack([good, bad]), np.stack([bad, good])
    found = differences(target, a, b)["accuracy"]
    assert (found.value, found.p, found.verdict) == (pytest.approx(0), 1, "undecided")
    assert differences(target, np.stack([good, good]), b)["accuracy"].value == pytest.approx(0.1)
    assert differences(target, good, np.stack([bad, bad]))["f1"].verdict == "higher"


@pytest.mark.parametrize("test_is", ["labelled", "of others"])
def test_the_temperature_is_of_the_validation_part(test_is, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    validation, (target, probabilities) = overconfident(1000, 2.0), overconfident(1000, 2.0, seed=1)
    if test_is == "of others":  # other labels there change nothing that is chosen
        target = np.zeros_like(target)
    halves = [(target[part], probabilities[part]) for part in (slice(500), slice(500, None))]  # pooled
    errors, curves = of_networks(*((validation, half) for half in halves))
    plain, tempered = errors[errors["probabilities"] == "plain"].to_dict("records")
    assert plain == {"row": "a", "probabilities": "plain", "temperature": 1, **calibration(target, probabilities)}
    assert tempered["temperature"] == temperature(*validation) != temperature(target, probabilities)
    assert tempered["nll"] == calibration(target, scaled(probabilities, tempered["temperature"]))["nll"]
    assert curves.groupby("probabilities")["images"].sum().to_dict() == {"plain": 1000, "with TTA": 1000}


# --- what the metrics have


def test_bounds_of_a_test_part_of_which_some_labels_are_known():
    target, predicted = some([60, 50, 40], 0.7)
    unknown = np.where(np.arange(len(target)) < 30, -1, target)
    found = bounded(unknown, predicted, way="_tta")
    assert list(found) == [f"test_{score}_tta{of}" for score, of in ORDER]
    assert found["test_f1_tta"] == points(target[30:], predicted[30:])["f1"]
    assert found["test_f1_tta_low"] < found["test_f1_tta"] < found["test_f1_tta_high"]
    assert bounded(np.full(3, -1), np.zeros(3, int)) == {}


ORDER = [(score, of) for score in ("f1", "accuracy") for of in ("", "_low", "_high")]


def test_bounds_where_classes_are_rare_and_patients_known():
    target = np.repeat(np.arange(13), [60] * 12 + [3])
    predicted = np.where(np.arange(len(target)) % 3 > 0, target, 0)
    assert {"test_f1_common_low", "test_f1_common_high"} < set(bounded(target, predicted))
    of_patients = bounded(target, predicted, np.arange(len(target)) // 9)
    assert of_patients["test_f1_low"] != bounded(target, predicted)["test_f1_low"]


def test_patients_are_the_manifests():
    manifest = pd.DataFrame({"id": ["a", "b", "c", "d"], "group": ["p", "", "p", ""]})
    of = patients(manifest, ["d", "c", "b", "a"])
    assert of[1] == of[3]
    assert len(set(of)) == 3  # each of the others is one of its own
    assert patients(manifest, ["b", "d"]) is None


# --- corruptions


@pytest.fixture(scope="module")
def cells():
    return np.stack([draw(name, 112, np.random.default_rng(0))[0] for name in CLASSES[:4]])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(cells, name):
    before = cells.copy()
    spoilt = [corrupt(cells, name, severity) for severity in range(1, 6)]
    assert np.array_equal(cells, before)
    assert all(image.shape == cells.shape and image.dtype == np.uint8 for image in spoilt)
    change = [np.abs(image.astype(float) - cells).mean() for image in spoilt]
    assert 0 < change[0] < change[2] < change[4], change


@pytest.mark.parametrize("name", ["motion", "stain_deposit", "bubble"])
def test_what_is_drawn_depends_on_image_and_seed_alone(cells, name):
    spoilt = corrupt(cells, name, 3)
    assert np.array_equal(corrupt(cells[[2, 0]], name, 3), spoilt[[2, 0]])
    assert not np.array_equal(corrupt(cells, name, 3, seed=1), spoilt)


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


@pytest.mark.parametrize("side", [224, 112])
def test_lengths_scale_with_the_image(side):
    dark = np.zeros((1, side, side, 3), np.uint8)
    dark[0, side // 2, side // 2] = 255
    wide = np.flatnonzero(corrupt(dark, "defocus", 5)[0, side // 2, :, 0])
    assert np.ptp(wide) == pytest.approx(2 * 6 * side / 224, abs=1)
