"""Losses, class weights, mixing and schedule, compared with numbers computed by hand or by PyTorch."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim import lr_scheduler

from wbc.config.schema import Loss, Mix, Schedule
from wbc.core.classes import CLASSES, TABLE_1
from wbc.train.losses import CLASS_WEIGHTS, LOSSES, focal, inverse_sqrt, log_dampened
from wbc.train.mixing import mixing, one_hot
from wbc.train.schedule import factors

COUNTS = np.array([TABLE_1[c] for c in CLASSES])
PLY, SNE, PC = (CLASSES.index(name) for name in ("PLY", "SNE", "PC"))


def loss(name, logits, target, weights, **parameters):
    return LOSSES[name](Loss(name=name, class_weights="none", **parameters), logits, target, weights)


def test_log_dampened_weights_are_the_reports():
    weights = log_dampened(COUNTS)
    assert weights[PLY] == pytest.approx(2.144, abs=5e-4)
    assert weights[PLY] / weights[SNE] == pytest.approx(10.2, abs=0.05)
    assert log_dampened(COUNTS - np.round(0.15 * COUNTS))[PLY] == pytest.approx(2.15, abs=5e-3)  # as §7.2.1 prints it


def test_inverse_sqrt_weights_are_the_reports():
    raw, weights = COUNTS**-0.5 / np.mean(COUNTS**-0.5), inverse_sqrt(COUNTS)
    assert (raw[SNE], raw[PLY]) == pytest.approx((0.132, 4.536), abs=5e-4)  # before the clipping
    assert (weights[SNE], weights[PLY], weights[PC]) == pytest.approx((0.2, 3.0, raw[PC]))


def test_an_absent_class_has_no_weight_and_is_not_part_of_the_mean():
    mean = (math.log(2) + math.log(3)) / 2
    assert log_dampened(np.array([10, 0, 5])) == pytest.approx([math.log(2) / mean, 0, math.log(3) / mean])
    assert inverse_sqrt(np.array([4, 0, 16])) == pytest.approx([4 / 3, 0, 2 / 3])  # 1/2 and 1/4 over 3/8
    assert CLASS_WEIGHTS["none"](np.array([10, 0, 5])).tolist() == [1, 1, 1]


def test_focal_loss_by_hand():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.4, 0.6]]))
    target, weights = torch.eye(2)[[0, 0]], torch.tensor([2.0, 5.0])
    expected = [-2 * 0.1**2 * math.log(0.9), -2 * 0.6**2 * math.log(0.4)]  # p unweighted: 0.9 and 0.4
    assert focal(logits, target, weights, gamma=2.0).tolist() == pytest.approx(expected, rel=1e-5)
    assert loss("focal", logits, target, weights, gamma=2.0).item() == pytest.approx(sum(expected) / 2, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_has_a_gradient_where_the_network_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal(logits, torch.eye(2)[[0, 0]], torch.ones(2), gamma).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 0] < -0.9  # certain and wrong


def test_cross_entropy_is_pytorchs():
    torch.manual_seed(0)
    logits, hard, weights = torch.randn(6, 13), torch.arange(6), torch.rand(13)
    found = loss("cross_entropy", logits, one_hot(hard), weights)
    torch.testing.assert_close(found, F.cross_entropy(logits, hard, weights))


def mixed(count=400, **alphas):
    """What `count` batches of one black and one white image, of classes 0 and 1, become."""
    torch.manual_seed(0)
    images, targets = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)]), torch.tensor([0, 1])
    mix = mixing(Mix(**{"mixup_alpha": 0.0, "cutmix_alpha": 0.0} | alphas))
    return [mix(images, targets) for _ in range(count)]


def test_mixup_blends_images_and_targets_by_the_same_fraction():
    batches = mixed(mixup_alpha=0.4)
    fractions = [targets[0, 0].item() for _, targets in batches]  # of the black image in the first
    for (images, targets), fraction in zip(batches, fractions, strict=True):
        assert images[:, 0, 0, 0].tolist() == pytest.approx([1 - fraction, fraction], abs=1e-6)
        assert targets[:, :2].flatten().tolist() == pytest.approx([fraction, 1 - fraction, 1 - fraction, fraction])
    # Beta(0.4, 0.4): mean 1/2, variance 1 / (4 (2·0.4 + 1)); uniform would be 1/12
    assert np.mean(fractions) == pytest.approx(0.5, abs=0.06)
    assert np.var(fractions) == pytest.approx(1 / 7.2, abs=0.015)


def test_cutmix_counts_the_pixels_of_its_clipped_box():
    batches = mixed(cutmix_alpha=1.0)
    for images, targets in batches:
        assert set(images.unique().tolist()) <= {0.0, 1.0}
        assert targets[0, 0].item() == pytest.approx(1 - images[0, 0].mean().item(), abs=1e-6)  # eq. 8
    # λ ~ Beta(1, 1) is 1/2 on average; the clipping adds to it
    assert 0.6 < np.mean([targets[0, 0].item() for _, targets in batches]) < 0.75


def test_each_batch_draws_one_of_the_two():
    batches = mixed(mixup_alpha=0.4, cutmix_alpha=1.0)
    blended = [not set(images.unique().tolist()) <= {0.0, 1.0} for images, _ in batches]
    assert np.mean(blended) == pytest.approx(0.5, abs=0.08)  # nothing blends if MixUp's λ is close to 0 or 1
    ((images, targets),) = mixed(count=1)
    assert (images.unique().tolist(), targets[:, :2].tolist()) == ([0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])


COSINE, RESTARTS = lr_scheduler.CosineAnnealingLR, lr_scheduler.CosineAnnealingWarmRestarts


@pytest.mark.parametrize(
    ("settings", "theirs", "options", "starts"),
    [
        ({"name": "cosine", "floor": 0.0}, COSINE, {"T_max": 60}, [1]),
        (
            {"name": "restarts", "period": 15, "floor": 0.1},
            RESTARTS,
            {"T_0": 15, "eta_min": 0.1},
            [1, 16, 31, 46],
        ),  # §7.4
    ],
)
def test_schedules_are_pytorchs(settings, theirs, options, starts):
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, settings = theirs(optimiser, **options), Schedule(**settings)
    scales = [factors(settings, epoch, 60, freeze=0) for epoch in range(60)]
    for backbone, head in scales:
        assert backbone == head == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert [epoch + 1 for epoch, (scale, _) in enumerate(scales) if scale == 1.0] == starts


def test_the_schedule_begins_when_the_backbone_is_unfrozen():
    settings = Schedule(name="restarts", period=15, floor=0.0)
    scales = [factors(settings, epoch, 65, freeze=5) for epoch in range(65)]
    assert scales == [(0.0, 1.0)] * 5 + [factors(settings, epoch, 60, freeze=0) for epoch in range(60)]
    probe = [factors(settings, epoch, 30, freeze=30) for epoch in range(30)]  # the backbone is never unfrozen
    assert probe == [(0.0, factors(settings, epoch, 30, freeze=0)[1]) for epoch in range(30)]
