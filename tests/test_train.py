"""Losses, sampler, schedule, augmentation and the loop, against numbers worked out by hand."""

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._dynamo import lookup_backend

from wbc.classes import CLASSES, TABLE_1
from wbc.config import Augment, Loss, Mix, Schedule
from wbc.network.inference import MemoryShort, device, infer
from wbc.network.model import Trained, WeightsError, build, load_model, save_model
from wbc.network.pixels import STREAMING, Pixels, fits
from wbc.network.prepare import Prepare
from wbc.network.reference import Reference, channel_means, reference
from wbc.train import engine
from wbc.train.engine import HISTORY, TrainError, fit, parameter_groups, sample
from wbc.train.losses import CLASS_WEIGHTS, LOSSES, Kind, focal, inverse_sqrt, log_dampened, mass, per_image
from wbc.train.mixing import Mixing, one_hot
from wbc.train.schedule import factor, factors

COUNTS = np.array([TABLE_1[c] for c in CLASSES])
CPU = torch.device("cpu")
NONE = {"mean": [0.0] * 3, "std": [1.0] * 3}
STILL = Augment(
    flip=0.0, rotation=0.0, translate=0.0, scale=[1.0, 1.0], brightness=0.0, contrast=0.0, saturation=0.0,
    erase=0.0, erase_scale=[0.1, 0.1],
)  # fmt: skip


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
    cross_entropy = Loss(name="cross_entropy", class_weights="none")
    value = per_image(cross_entropy, logits, target, weights).sum() / mass(cross_entropy, target, weights)
    assert value.item() == pytest.approx((math.log(2) + 3 * math.log(1 + math.e**2)) / 4)
    torch.testing.assert_close(value, F.cross_entropy(logits, hard, weights))
    assert mass(Loss(name="focal", gamma=2.0, class_weights="none"), target, weights) == 2


def test_a_new_loss_is_an_entry_of_its_own(monkeypatch):
    """And is not trained as one of those there are."""
    logits, target, weights = torch.tensor([[2.0, 0.0]]), torch.eye(2)[[0]], torch.tensor([1.0, 3.0])
    brier = Kind(lambda _, logits, target, weights: (logits.softmax(1) - target).square().sum(1), lambda *_: 7.0)
    monkeypatch.setitem(LOSSES, "brier", brier)
    settings = Loss.model_construct(name="brier", class_weights="none")
    expected = 2 * (1 - torch.sigmoid(torch.tensor(2.0))) ** 2
    torch.testing.assert_close(per_image(settings, logits, target, weights), expected[None])
    assert mass(settings, target, weights) == 7.0
    with pytest.raises(KeyError):
        per_image(settings.model_copy(update={"name": "hinge"}), logits, target, weights)


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


# --- sampler and optimiser


def test_the_weighted_sampler_shows_every_class_equally_often():
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([0] * 900 + [2] * 90 + [1] * 10)
    counts = np.bincount(targets, minlength=13)
    drawn = torch.cat([torch.cat(sample("weighted", targets, counts, 32, generator)) for _ in range(10)])
    shares = np.bincount(targets[drawn], minlength=13) / len(drawn)
    assert shares[:3] == pytest.approx([1 / 3] * 3, abs=0.02)


def test_shuffling_takes_each_image_once_and_drops_the_short_batch():
    targets, generator = torch.zeros(70, dtype=torch.int64), torch.Generator()
    batches = sample("shuffle", targets, np.array([70]), 32, generator)
    assert [len(b) for b in batches] == [32, 32]
    assert len(set(torch.cat(batches).tolist())) == 64
    assert [len(b) for b in sample("shuffle", targets[:5], np.array([5]), 32, generator)] == [5]


def test_two_learning_rates_and_no_decay_on_norms_and_biases(tiny_row):
    model, _ = build(tiny_row.model)
    groups = parameter_groups(model, tiny_row.optim)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    of = {id(p): group for group in groups for p in group["params"]}
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert len(norms) > 5
    for name, parameter in model.named_parameters():
        group, settings = of[id(parameter)], tiny_row.optim
        assert group["lr"] == (settings.lr_head if name.startswith("head.") else settings.lr_backbone)
        plain = name in norms or name.endswith(("bias", "gamma"))
        assert group["weight_decay"] == (0.0 if plain else settings.weight_decay), name


# --- augmentation


def test_without_augmentation_pixels_are_scaled_and_normalised_only():
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    prepared = Prepare({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]})(pixels)
    by_hand = (pixels.numpy() / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(prepared.permute(0, 2, 3, 1), by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(Prepare(NONE, STILL)(pixels), Prepare(NONE)(pixels), atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 0.5},
        {"rotation": 180.0},
        {"translate": 0.2},
        {"scale": [0.5, 1.5]},
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"saturation": 0.9},
        {"erase": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_augmentation_is_drawn_for_each_image(change):
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 16, 16, 3), dtype=torch.uint8)
    prepared = Prepare(NONE, STILL.model_copy(update=change))(image.repeat(16, 1, 1, 1))
    assert len({tuple(p.flatten().tolist()) for p in prepared}) > 3  # flips make four kinds, the others more


def test_random_draws_stay_on_the_cpu_wherever_the_images_are():
    """And with them their bits: another device's generator draws other numbers, and waits for its queue."""
    prepare = Prepare(NONE, STILL.model_copy(update={"flip": 0.5, "brightness": 0.5, "erase": 0.5})).to("meta")
    assert prepare.mean.device.type == "meta"
    random = [*prepare.augment, *prepare.erase]
    assert len(random) == 5
    assert {change.device.type for change in random} == {"cpu"}
    assert {t.device.type for change in random for t in change.forward_parameters((2, 3, 8, 8)).values()} == {"cpu"}


def test_an_erased_patch_holds_the_mean_colour():
    torch.manual_seed(0)
    pixels = torch.full((4, 16, 16, 3), 255, dtype=torch.uint8)
    always = STILL.model_copy(update={"erase": 1.0})
    prepared = Prepare({"mean": [0.5] * 3, "std": [0.5] * 3}, always)(pixels)
    assert set(prepared.unique().tolist()) == {0.0, 1.0}
    assert set(Prepare(NONE, always, erase=False)(pixels).unique().tolist()) == {1.0}


# --- model


def test_the_packages_imagenet_weights_fill_the_whole_backbone(tiny_row):
    settings = tiny_row.model.model_copy(update={"name": "tf_efficientnet_lite0", "weights": "imagenet"})
    torch.manual_seed(0)
    first, normalisation = build(settings)
    torch.manual_seed(1)
    second, _ = build(settings)
    assert normalisation == {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    assert all(
        torch.equal(a, b) for a, b in zip(*(m.backbone.state_dict().values() for m in (first, second)), strict=True)
    )
    assert not torch.equal(first.head[1].weight, second.head[1].weight)


def test_unreachable_weights_say_what_to_fetch(tiny_row, monkeypatch):
    real = engine.build.__globals__["timm"].create_model

    def offline(*args, pretrained=False, **kwargs):
        if pretrained:
            raise ConnectionError("no route to host")
        return real(*args, **kwargs)

    monkeypatch.setattr("timm.create_model", offline)
    settings = tiny_row.model.model_copy(update={"name": "convnext_tiny.fb_in1k", "weights": "imagenet"})
    with pytest.raises(
        WeightsError, match=r"download model.safetensors of timm/convnext_tiny.fb_in1k .* model.weights"
    ):
        build(settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "convnext_tinny"}, "model.name = 'convnext_tinny'"),
        ({"weights": "nowhere.safetensors"}, "no such file"),
        ({"weights": "params.yaml"}, "model.weights = 'params.yaml'"),
    ],
)
def test_wrong_names_and_files_are_one_line(tiny_row, change, said):
    with pytest.raises(WeightsError, match=said) as error:
        build(tiny_row.model.model_copy(update=change))
    assert "\n" not in str(error.value)


def test_a_transformer_takes_the_size_of_its_images(tiny_row, tmp_path):
    settings = tiny_row.model.model_copy(update={"name": "vit_tiny_patch16_224"})
    model, normalisation = build(settings, 64)
    x = torch.randn(1, 3, 64, 64)
    known = Reference(torch.randn(2, 192), torch.eye(192), 3.5)
    values = tiny_row.model_dump(exclude_none=True) | {"model": settings.model_dump(exclude_none=True)}
    save_model(tmp_path / "vit", Trained(model, values, normalisation, 64, known))
    assert torch.equal(load_model(tmp_path / "vit").model(x), model.eval()(x))


def test_weights_of_another_model_do_not_load(tiny_row, tmp_path):
    import timm

    path = tmp_path / "w.pth"
    torch.save(timm.create_model("test_convnext2").state_dict(), path)
    with pytest.raises(WeightsError, match=r"another shape|no tensor"):
        build(tiny_row.model.model_copy(update={"weights": str(path)}))
    torch.save(timm.create_model("test_convnext").state_dict(), path)
    build(tiny_row.model.model_copy(update={"weights": str(path)}))


def test_a_saved_model_comes_back_the_same_and_in_the_same_bytes(tiny_row, tmp_path):
    model, normalisation = build(tiny_row.model)
    known = Reference(torch.randn(2, 64), torch.eye(64), 3.5, 1)
    trained = Trained(model, tiny_row.model_dump(exclude_none=True), normalisation, 32, known)
    for name in "ab":
        save_model(tmp_path / name, trained)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_model(tmp_path / "a")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(x), model.eval()(x))
    assert loaded[1:4] == trained[1:4]
    assert torch.equal(loaded.reference.means, known.means)
    assert loaded.reference[2:] == (3.5, 1)
    (tmp_path / "c").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="not a model of this project"):
        load_model(tmp_path / "c")


# --- pixels


def test_pixels_are_the_same_from_memory_and_from_the_file(tmp_path):
    packed = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "p.npy", packed)
    rows, order = np.array([3, 1, 7, 12]), [torch.tensor([2, 0]), torch.tensor([3, 3, 1])]
    for resident in (False, True):
        pixels = Pixels(np.load(tmp_path / "p.npy", mmap_mode="r"), rows, CPU, resident)
        first, second = pixels.batches(order)
        np.testing.assert_array_equal(first, packed[[7, 3]])
        np.testing.assert_array_equal(second, packed[[12, 12, 1]])
        assert (len(pixels), pixels.size) == (4, 8)


def test_all_parts_together_take_at_most_half_of_the_gpus_memory(monkeypatch):
    """Of 100 bytes that the process may have: 30 of training images fit, another 30 of validation images do not."""
    held = {"mem_get_info": (100, 120), "memory_reserved": 0, "memory_allocated": 0}
    for name in held:
        monkeypatch.setattr(torch.cuda, name, lambda where, name=name: held[name])
    assert fits(50, CPU)
    assert not fits(51, CPU)
    held |= {"mem_get_info": (60, 120), "memory_reserved": 40, "memory_allocated": 30}
    assert fits(20, CPU)
    assert not fits(30, CPU)


# --- the loop


def changed(row, **groups):
    """The row with some settings of its groups replaced."""
    return row.model_copy(
        update={name: getattr(row, name).model_copy(update=values) for name, values in groups.items()}
    )


def values(result):
    return {name: tensor.clone() for name, tensor in result.state_dict().items()}


def test_it_learns(tiny_row, coloured, tmp_path):
    row = tiny_row.model_copy(update={"augment": STILL})
    model, normalisation, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    logits = infer(model, Prepare(normalisation), coloured.pixels)
    assert progress.best_f1 == 1.0
    assert (logits.argmax(1) == coloured.targets).all()


def test_it_keeps_the_best_epoch(tiny_row, coloured, tmp_path, monkeypatch):
    states, scores = [], iter([0.1, 0.5, 0.3, 0.5])

    def scripted(trainer, part):
        states.append(values(trainer.model))
        return 1.0, next(scores)

    monkeypatch.setattr(engine.Trainer, "evaluate", scripted)
    model, _, progress = fit(tiny_row, coloured, coloured, tmp_path / "c.pt")
    assert (progress.best_epoch, progress.best_f1) == (2, 0.5)
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in model.state_dict().items())


def test_validation_is_not_augmented(tiny_row, coloured):
    trainer = engine.Trainer(tiny_row, coloured)
    loss, f1 = trainer.evaluate(coloured)
    logits = infer(trainer.model, Prepare(trainer.normalisation), coloured.pixels)
    by_hand = per_image(tiny_row.loss, logits, one_hot(coloured.targets), trainer.weights).mean().item()
    assert loss == pytest.approx(by_hand)
    assert (loss, f1) == trainer.evaluate(coloured)


@pytest.mark.parametrize("dies_in", [3, 13, 18])  # of five steps an epoch: before and after the backbone is unfrozen
def test_killed_and_resumed_ends_in_the_same_bits(tiny_row, coloured, tmp_path, monkeypatch, dies_in):
    row = changed(
        tiny_row, train={"freeze": 2}, mix={"mixup_alpha": 0.4, "cutmix_alpha": 1.0}, optim={"clip_norm": 1.0}
    )
    monkeypatch.setattr(engine, "CHECKPOINT_SHARE", math.inf)  # after every epoch
    through = fit(row, coloured, coloured, tmp_path / "through.pt")
    steps, real = [0], engine.Trainer._step

    def dies(*args):
        steps[0] += 1
        if steps[0] == dies_in:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(engine.Trainer, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(row, coloured, coloured, tmp_path / "killed.pt")
    torch.manual_seed(123)  # another process would have another state
    seen = []
    resumed = fit(row, coloured, coloured, tmp_path / "killed.pt", log=seen.append)
    assert [list(epoch) for epoch in seen] == [list(HISTORY)] * 4  # those before the end of the first process too
    assert [list(epoch.values()) for epoch in seen] == resumed[2].history == through[2].history
    for name, tensor in through[0].state_dict().items():
        assert torch.equal(tensor, resumed[0].state_dict()[name]), name


def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(engine.time, "perf_counter", lambda: now[0])

    def save(state, path):
        now[0] += 1.0  # seconds that a checkpoint takes
        saved.append(now[0])
        path.write_bytes(b"")

    monkeypatch.setattr(torch, "save", save)
    saver, trainer = engine.Saver(tmp_path / "c.pt"), engine.Trainer.__new__(engine.Trainer)
    trainer.model = trainer.optimiser = torch.nn.Linear(1, 1)
    for _ in range(100):
        now[0] += 3.0  # an epoch
        saver.save(trainer, engine.Progress())
    assert len(saved) / now[0] == pytest.approx(engine.CHECKPOINT_SHARE, rel=0.2)
    assert saved[0] == 4.0  # the first at once


def test_a_frozen_backbone_keeps_its_weights_and_statistics(tiny_row, coloured, tmp_path, monkeypatch):
    row = changed(tiny_row, model={"name": "test_efficientnet", "dropout": 0.5}, train={"freeze": 2, "epochs": 3})
    states, modes, real = [], [], engine.Trainer.epoch

    def watched(trainer, number, bar):
        states.append(values(trainer.model))
        result = real(trainer, number, bar)
        modes.append((trainer.model.backbone.training, trainer.model.head.training))
        return result

    monkeypatch.setattr(engine.Trainer, "epoch", watched)
    history = fit(row, coloured, coloured, tmp_path / "c.pt")[2].history
    same = {name for name in states[0] if torch.equal(states[0][name], states[2][name])}
    backbone = {name for name in states[0] if name.startswith("backbone.")}
    assert any("running_mean" in name for name in backbone)
    assert same == backbone
    assert modes == [(False, True), (False, True), (True, True)]  # the head's dropout acts throughout
    rates = [epoch[1:3] for epoch in history]
    assert rates == [[0.0, row.optim.lr_head]] * 2 + [[row.optim.lr_backbone, row.optim.lr_head]]


def test_unfreezing_starts_a_new_optimiser(tiny_row, coloured):
    trainer = engine.Trainer(changed(tiny_row, train={"freeze": 1}), coloured)
    bar = engine.tqdm(disable=True)
    trainer.epoch(0, bar)
    old, head = trainer.optimiser, len(list(trainer.model.head.parameters()))
    assert len(old.state) == head  # nothing of the backbone
    trainer.epoch(1, bar)
    assert trainer.optimiser is not old
    steps = {int(state["step"]) for state in trainer.optimiser.state.values()}
    assert steps == {5}  # of its own, in the second epoch
    assert len(trainer.optimiser.state) == len(list(trainer.model.parameters()))


def test_gradients_are_clipped_to_their_norm(tiny_row, coloured, monkeypatch):
    for limit, clips in ((0.0, False), (1e-3, True)):
        trainer = engine.Trainer(changed(tiny_row, optim={"clip_norm": limit}), coloured)
        norms = []

        def step(trainer=trainer, norms=norms):
            norms.append(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm().item())

        monkeypatch.setattr(trainer.optimiser, "step", step)
        trainer.epoch(0, engine.tqdm(disable=True))
        assert (max(norms) < 1.01e-3) == clips


def test_every_epoch_draws_anew(tiny_row, coloured, monkeypatch):
    orders, seeds, pixels, real = [], [], [], engine.Trainer._prepared

    def watched(trainer, batches):
        orders.append(torch.cat(batches).tolist())
        seeds.append(torch.initial_seed())
        for prepared, index in real(trainer, batches):
            pixels.append(prepared[0].sum().item())
            yield prepared, index

    monkeypatch.setattr(engine.Trainer, "_prepared", watched)
    trainer = engine.Trainer(changed(tiny_row, train={"sampler": "shuffle"}), coloured)
    for epoch in (0, 1, 0):
        trainer.epoch(epoch, engine.tqdm(disable=True))
    assert seeds[0] == seeds[2] != seeds[1]  # of augmentation, mixing and dropout
    first, second, again = orders
    assert first == again != second
    assert sorted(first) == sorted(second) == list(range(40))
    assert pixels[:5] == pixels[10:] != pixels[5:10]


def test_it_stops_when_patience_runs_out(tiny_row, coloured, tmp_path):
    row = changed(tiny_row, train={"patience": 2, "epochs": 10}, optim={"lr_backbone": 1e-12, "lr_head": 1e-12})
    progress = fit(row, coloured, coloured, tmp_path / "c.pt")[2]
    assert (progress.best_epoch, progress.epoch) == (1, 3)


def test_a_loss_that_is_not_finite_stops_with_epoch_step_and_rates(tiny_row, coloured, tmp_path):
    row = changed(tiny_row, optim={"lr_backbone": 1e30, "lr_head": 1e30})
    with pytest.raises(TrainError, match=r"epoch 1, step 2: the loss is nan at .* 1e\+30 \(backbone\)"):
        fit(row, coloured, coloured, tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    RuntimeError("[enforce] can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_too_little_memory_names_the_settings_to_lower(tiny_row, coloured, tmp_path, monkeypatch, error):
    def full(*args):
        raise error

    monkeypatch.setattr(engine.Trainer, "_step", full)
    with pytest.raises(MemoryShort, match=r"out of memory at train.batch_size = 8 and images.size = 32: lower one"):
        fit(tiny_row, coloured, coloured, tmp_path / "c.pt")


def resident(part):
    return part._replace(pixels=Pixels(part.pixels.packed, part.pixels.rows, CPU, resident=True))


def test_images_that_leave_too_little_memory_are_read_as_needed(tiny_row, coloured, tmp_path, monkeypatch, capsys):
    """From the last checkpoint on, in the same bits, and no epoch is logged twice."""
    expected, _, through = fit(tiny_row, coloured, coloured, tmp_path / "a.pt")
    train, validation, seen, real = resident(coloured), resident(coloured), [], engine.Trainer._step

    def step(trainer, *batch):
        if trainer.train.pixels.resident and len(seen) == 2:
            raise torch.OutOfMemoryError("CUDA")
        return real(trainer, *batch)

    monkeypatch.setattr(engine, "CHECKPOINT_SHARE", 1e-9)  # the first epoch's alone: the second comes again
    monkeypatch.setattr(engine.Trainer, "_step", step)
    model, _, progress = fit(tiny_row, train, validation, tmp_path / "b.pt", log=lambda e: seen.append(e.pop("epoch")))
    assert seen == [1, 2, 3, 4]
    assert progress.history == through.history
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected.state_dict().items())
    assert not train.pixels.resident
    assert not validation.pixels.resident
    assert capsys.readouterr().out.count(STREAMING) == 1


def test_where_torch_is_made_deterministic_cublas_is_too(monkeypatch):
    """Whether a stage, `python -m wbc classify` or a notebook asks for the device."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.are_deterministic_algorithms_enabled()
    try:
        device()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(before)


def test_a_model_sees_fewer_images_at_a_time_where_memory_is_short(tiny_row, coloured, monkeypatch):
    model, normalisation = build(tiny_row.model)
    prepare = Prepare(normalisation, tiny_row.augment)
    torch.manual_seed(0)
    expected = infer(model, prepare, coloured.pixels)
    sizes, real = [], model.forward

    def short(images):
        if len(images) > 12:
            raise torch.OutOfMemoryError("CUDA")
        sizes.append(len(images))
        return real(images)

    monkeypatch.setattr(model, "forward", short)
    torch.manual_seed(0)
    torch.testing.assert_close(infer(model, prepare, coloured.pixels), expected, rtol=1e-4, atol=1e-5)
    assert sizes == [8] * 5  # of 40; half of 256, and so on
    monkeypatch.setattr(model, "forward", lambda images: short(images.repeat(13, 1, 1, 1)))
    with pytest.raises(MemoryShort, match=r"out of memory at images.size = 32: lower it"):
        infer(model, prepare, coloured.pixels)


def test_a_smaller_batch_is_augmented_in_smaller_parts(tiny_row, coloured, monkeypatch):
    for size, most in ((2, 8), (8, 32), (40, 40)):
        trainer = engine.Trainer(changed(tiny_row, train={"batch_size": size}), coloured)
        parts, real = [], trainer.augmented.forward

        def forward(pixels, parts=parts, real=real):
            parts.append(len(pixels))
            return real(pixels)

        monkeypatch.setattr(trainer.augmented, "forward", forward)
        trainer.epoch(0, engine.tqdm(disable=True))
        assert max(parts) == most


def test_an_empty_part_is_said_before_training(tiny_row, coloured, tmp_path):
    nothing = coloured._replace(targets=coloured.targets[:0])
    with pytest.raises(TrainError, match=r"no validation image: train.validation = 0.15"):
        fit(tiny_row, coloured, nothing, tmp_path / "c.pt")


def test_compiled_it_computes_the_same(tiny_row, coloured, tmp_path, monkeypatch):
    """Traced and differentiated ahead, in both phases; generating machine code would take a minute."""
    row = changed(tiny_row, train={"epochs": 2, "freeze": 1})
    eager, _, expected = fit(row, coloured, coloured, tmp_path / "a.pt")
    graphs, real = [], torch.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return lookup_backend("aot_eager")(graph, inputs)

    monkeypatch.setattr(torch, "compile", lambda model: real(model, backend=backend))
    compiled, _, progress = fit(changed(row, train={"compile": True}), coloured, coloured, tmp_path / "b.pt")
    assert len(graphs) >= 2
    assert np.allclose(progress.history, expected.history, rtol=1e-3)
    assert list(compiled.state_dict()) == list(eager.state_dict())


TWO_PROCESSES = """
import pickle, sys
from pathlib import Path
from wbc.compute import pin
pin(threads=1, isa="avx2")
import torch
from wbc.network import distributed
from wbc.train.engine import fit
row, train = pickle.loads(Path(sys.argv[1]).read_bytes())
with distributed.group():
    model, _, progress = fit(row, train, train, Path(sys.argv[2]) / "checkpoint.pt")
    assert distributed.world() == int(sys.argv[3])
    assert len(distributed.share(torch.arange(12))) == 12 // distributed.world()
    if not distributed.rank():
        torch.save((progress.history, model.state_dict()), Path(sys.argv[2]) / "result.pt")
"""


@pytest.mark.parametrize("loss", [{"name": "focal"}, {"name": "cross_entropy"}])
def test_two_processes_agree_with_one(tiny_row, coloured, tmp_path, loss):
    """With batches that do not divide by two, and without what each process draws for itself.

    Sums are taken in another order, so weights agree to 1e-4 of their size after 20 steps, not to the last bit.
    """
    row = changed(
        tiny_row, train={"batch_size": 7, "freeze": 1}, model={"dropout": 0.0}, loss=loss, optim={"clip_norm": 0.5}
    )
    row = row.model_copy(update={"augment": STILL})
    (tmp_path / "task.pkl").write_bytes(pickle.dumps((row, coloured)))
    (tmp_path / "two.py").write_text(TWO_PROCESSES)
    results = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        subprocess.run(
            [*launcher, tmp_path / "two.py", tmp_path / "task.pkl", out, str(processes)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
            check=True,
        )
        results.append(torch.load(out / "result.pt", weights_only=True))
    (one, alone), (two, together) = results
    assert np.allclose(one, two, rtol=1e-4, atol=1e-6)
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


# --- how usual an image is


def test_the_distance_is_mahalanobis_from_the_nearest_class():
    known = Reference(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.diag(torch.tensor([1.0, 4.0])), 0.0)
    points = torch.tensor([[0.0, 3.0], [7.0, 0.0]])
    assert known.distance(points).tolist() == pytest.approx([6.0, 3.0])


def test_a_distance_is_rounded_as_every_processor_rounds_it():
    """MKL's root, which PyTorch takes, is an ulp off for one value in six, and for which depends on the make."""
    known = Reference(means=torch.zeros(1, 1), precision=torch.full((1, 1), 2.0), threshold=0.0)
    points = torch.rand(5000, 1, generator=torch.Generator().manual_seed(0))
    assert (known.distance(points).numpy() == np.sqrt(2 * points.numpy() ** 2)[:, 0]).all()


def test_one_validation_image_in_a_hundred_is_unusual_and_noise_is(tiny_row, coloured):
    model, normalisation = build(tiny_row.model)
    known = reference(model.backbone, normalisation, coloured, coloured)
    assert known.means.shape == (2, 32)  # of the classes there are; test_convnext's second map is an eighth as wide
    noise = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    distances = [
        known.distance(channel_means(model.backbone, normalisation, pixels, known.layer))
        for pixels in (coloured.pixels, Pixels(noise, np.arange(20), CPU))
    ]
    assert (distances[0] > known.threshold).sum() == 1  # of 40
    assert (distances[1] > known.threshold).all()
