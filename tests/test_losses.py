"""Losses, class weights, mixing and schedule, against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wbc.config.schema import Loss, Mix, Schedule
from wbc.core.classes import CLASSES, TABLE_1
from wbc.train.losses import (
    CLASS_WEIGHTS,
    class_balanced,
    focal,
    inverse_sqrt,
    log_dampened,
    normaliser,
    per_image,
    smoothed,
)
from wbc.train.mixing import Mixing, one_hot
from wbc.train.schedule import factor, factors

COUNTS = np.array([TABLE_1[c] for c in CLASSES])


# --- class weights and losses


def test_log_dampened_weights_are_the_reports():
    weights = log_dampened(COUNTS)
    assert weights[CLASSES.index("PLY")] == pytest.approx(2.144, abs=5e-4)
    assert weights[CLASSES.index("PLY")] / weights[CLASSES.index("SNE")] == pytest.approx(10.2, abs=0.05)
    assert weights.mean() == pytest.approx(1)
    after_validation = COUNTS - np.round(0.15 * COUNTS)  # §7.2.1 prints 2.15
    assert log_dampened(after_validation)[CLASSES.index("PLY")] == pytest.approx(2.15, abs=5e-3)


def test_a_class_without_images_has_no_weight_and_no_part_in_the_mean():
    weights = log_dampened(np.array([10, 0, 5]))
    assert weights.tolist() == pytest.approx([math.log(2) / (math.log(6) / 2), 0, math.log(3) / (math.log(6) / 2)])
    assert CLASS_WEIGHTS["none"](np.array([10, 0, 5])).tolist() == [1, 1, 1]
    assert inverse_sqrt(np.array([4, 0, 16])).tolist() == pytest.approx([4 / 3, 0, 2 / 3])  # 1/2 and 1/4 over 3/8


def test_inverse_sqrt_weights_are_the_reports():
    raw = 1 / np.sqrt(COUNTS)
    raw /= raw.mean()
    assert raw.min() == pytest.approx(0.132, abs=5e-4)  # SNE, before they are kept within [0.2, 3]
    assert raw.max() == pytest.approx(4.536, abs=5e-4)  # PLY
    weights = dict(zip(CLASSES, inverse_sqrt(COUNTS), strict=True))
    assert (weights["SNE"], weights["PLY"]) == (0.2, 3.0)
    assert weights["PC"] == pytest.approx(raw[CLASSES.index("PC")])
    assert weights["PC"] == pytest.approx(68**-0.5 / np.mean(COUNTS**-0.5))


def test_class_balanced_weights_are_one_over_the_effective_number():
    """E = Σ 0.9999^i over i < n (Cui et al. 2019, proposition 1), added up one by one."""
    expected = np.array([1 / sum(0.9999**i for i in range(n)) for n in COUNTS])
    assert class_balanced(COUNTS) == pytest.approx(expected / expected.mean())
    few = class_balanced(np.array([1, 0, 100]))  # where β is near 1 it is the inverse of the count
    assert few[1] == 0
    assert few[0] / few[2] == pytest.approx(100, rel=0.01)


def test_focal_loss_by_hand():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.4, 0.6]]))
    target, weights = torch.eye(2)[[0, 0]], torch.tensor([2.0, 5.0])
    expected = [-2 * 0.1**2 * math.log(0.9), -2 * 0.6**2 * math.log(0.4)]  # p_t unweighted: 0.9 and 0.4
    assert focal(logits, target, weights, gamma=2.0).tolist() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_of_a_mixed_target_is_the_mixed_loss():
    """Equation 7, of two classes and of an image mixed with another of its class."""
    logits, weights, mixed = torch.randn(1, 13), torch.rand(13), torch.zeros(1, 13)
    mixed[0, 3], mixed[0, 7] = 0.3, 0.7
    three, seven = (focal(logits, one_hot(torch.tensor([c])), weights, 2.0) for c in (3, 7))
    torch.testing.assert_close(focal(logits, mixed, weights, 2.0), 0.3 * three + 0.7 * seven)
    torch.testing.assert_close(focal(logits, 0.3 * one_hot(torch.tensor([3])), weights, 2.0), 0.3 * three)


def test_focal_loss_without_focus_is_cross_entropy():
    torch.manual_seed(0)
    logits, hard, soft = torch.randn(6, 13), torch.arange(6), torch.rand(6, 13).softmax(1)
    for target in (hard, soft):
        expected = F.cross_entropy(logits, target, reduction="none")
        given = one_hot(target) if target is hard else target
        torch.testing.assert_close(focal(logits, given, torch.ones(13), 0.0), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_has_a_gradient_where_the_network_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal(logits, torch.eye(2)[[0, 0]], torch.ones(2), gamma).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 0] < -0.9  # certain and wrong


def test_the_losses_are_averaged_as_documented():
    logits, hard, weights = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]), torch.tensor([1.0, 3.0])
    target = torch.eye(2)[hard]
    cross_entropy = Loss(name="cross_entropy", class_weights="none", smoothing=0.0)
    value = per_image(cross_entropy, logits, target, weights, weights).sum() / normaliser(
        cross_entropy, target, weights
    )
    assert value.item() == pytest.approx((math.log(2) + 3 * math.log(1 + math.e**2)) / 4)
    torch.testing.assert_close(value, F.cross_entropy(logits, hard, weights))
    assert normaliser(Loss(name="focal", gamma=2.0, class_weights="none", smoothing=0.0), target, weights) == 2


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_the_logit_adjusted_loss_is_its_papers(tau):
    """-log(e^(f_y + τ log π_y) / Σ e^(f_c + τ log π_c)), Menon et al. 2021, eq. 10; of τ = 1 Ren et al. 2020."""
    logits, hard = torch.randn(20, 13, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 13
    shares = COUNTS / COUNTS.sum()
    powers = np.exp(logits.double().numpy()) * shares**tau
    expected = -np.log(powers[np.arange(20), hard] / powers.sum(1))
    if tau == 1:
        numbers = np.exp(logits.double().numpy()) * COUNTS
        assert expected == pytest.approx(-np.log(numbers[np.arange(20), hard] / numbers.sum(1)))
    settings = Loss(name="logit_adjusted", tau=tau, class_weights="none", smoothing=0.0)
    value = per_image(settings, logits, one_hot(hard), torch.ones(13), torch.from_numpy(COUNTS))
    assert value.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert normaliser(settings, one_hot(hard), torch.ones(13)) == 20


def test_a_class_without_images_is_still_learned_to_be_unlikely():
    logits = torch.zeros(4, 3, requires_grad=True)
    settings = Loss(name="logit_adjusted", tau=1.0, class_weights="none", smoothing=0.0)
    target, counts = torch.eye(3)[[0, 0, 0, 1]], torch.tensor([30, 10, 0])
    per_image(settings, logits, target, torch.ones(3), counts).sum().backward()
    assert (logits.grad[:, 2] > 0.45).all()  # e^0 beside 3/4 + 1/4


def test_smoothed_targets_are_pytorchs():
    logits, hard = torch.randn(6, 13), torch.arange(6)
    target = smoothed(one_hot(hard), torch.from_numpy(COUNTS), 0.1)
    torch.testing.assert_close(
        focal(logits, target, torch.ones(13), 0.0), F.cross_entropy(logits, hard, reduction="none", label_smoothing=0.1)
    )
    there = smoothed(torch.eye(3)[[0]], torch.tensor([5, 5, 0]), 0.1)  # nothing to a class without images
    torch.testing.assert_close(there, torch.tensor([[0.95, 0.05, 0.0]]))
    assert torch.equal(smoothed(target, torch.from_numpy(COUNTS), 0.0), target)


# --- MixUp and CutMix


def drawn(mix, count=400, size=16):
    """What `count` batches of one black and one white image, of classes 0 and 1, become."""
    images, targets = torch.stack([torch.zeros(3, size, size), torch.ones(3, size, size)]), torch.tensor([0, 1])
    mixing = Mixing(mix)
    return [mixing(images, targets) for _ in range(count)]


def test_mixup_blends_images_and_targets_by_the_same_share():
    torch.manual_seed(0)
    shares = []
    for images, targets in drawn(Mix(mixup_alpha=0.4, cutmix_alpha=0.0)):
        share = targets[0, 0].item()  # of the black image in the first
        assert images[0].unique().tolist() == pytest.approx([1 - share], abs=1e-6)
        assert images[1].unique().tolist() == pytest.approx([share], abs=1e-6)
        assert targets[:, :2].tolist() == [pytest.approx([share, 1 - share]), pytest.approx([1 - share, share])]
        shares.append(share)
    # Beta(0.4, 0.4): mean 1/2, variance 1 / (4 (2·0.4 + 1)); uniform would be 1/12
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.var(shares) == pytest.approx(1 / 7.2, abs=0.015)


def test_cutmix_counts_the_pixels_of_its_clipped_box():
    torch.manual_seed(0)
    shares = []
    for images, targets in drawn(Mix(mixup_alpha=0.0, cutmix_alpha=1.0)):
        pasted = images[0, 0] == 1
        share = targets[0, 0].item()
        assert share == pytest.approx(1 - pasted.float().mean().item(), abs=1e-6)  # eq. 8
        if pasted.any():
            rows, columns = pasted.any(1).nonzero().flatten(), pasted.any(0).nonzero().flatten()
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # one rectangle
        shares.append(share)
    assert 0.6 < np.mean(shares) < 0.75  # λ ~ Beta(1, 1) is 1/2 on average; what is clipped off adds to it


def test_each_batch_draws_one_of_the_two():
    torch.manual_seed(0)
    batches = drawn(Mix(mixup_alpha=0.4, cutmix_alpha=1.0))
    blended = [not set(images.unique().tolist()) <= {0.0, 1.0} for images, _ in batches]
    assert np.mean(blended) == pytest.approx(0.5, abs=0.08)  # 4 of 100 λ are so near 0 or 1 that nothing blends
    images, targets = drawn(Mix(mixup_alpha=0.0, cutmix_alpha=0.0), count=1)[0]
    assert (images.unique().tolist(), targets[:, :2].tolist()) == ([0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])


# --- schedule


def test_cosine_is_pytorchs():
    settings = Schedule(name="cosine", floor=0.0)
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=30)
    for epoch in range(30):
        assert factor(settings, epoch, 30) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()


def test_restarts_are_pytorchs_and_come_at_epochs_16_31_46():
    settings = Schedule(name="restarts", period=15, floor=0.1)
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=15, eta_min=0.1)
    factors = []
    for epoch in range(60):
        factors.append(factor(settings, epoch, 60))
        assert factors[-1] == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()
    assert [epoch + 1 for epoch, value in enumerate(factors) if value == 1.0] == [1, 16, 31, 46]  # §7.4


def test_the_schedule_begins_when_the_backbone_is_unfrozen():
    settings = Schedule(name="restarts", period=15, floor=0.0)
    of = [factors(settings, epoch, 65, freeze=5) for epoch in range(65)]
    assert of[:5] == [(0.0, 1.0)] * 5
    assert of[5:] == [(factor(settings, epoch, 60),) * 2 for epoch in range(60)]
    assert [epoch + 1 for epoch, (backbone, _) in enumerate(of) if backbone == 1.0] == [6, 21, 36, 51]


def test_where_the_backbone_stays_frozen_the_schedule_is_the_heads():
    settings = Schedule(name="cosine", floor=0.0)
    assert [factors(settings, epoch, 8, freeze=8) for epoch in range(8)] == [
        (0.0, factor(settings, epoch, 8)) for epoch in range(8)
    ]
