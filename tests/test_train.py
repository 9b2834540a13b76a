"""Losses, sampler, schedule, augmentation and the loop, against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wbc.classes import CLASSES, TABLE_1
from wbc.config import Augment, Loss, Schedule
from wbc.predict import plain, tta
from wbc.train import engine
from wbc.train.augment import Prepare
from wbc.train.engine import TrainError, fingerprint, fit, parameter_groups, sample
from wbc.train.losses import class_weights, focal, log_dampened, loss
from wbc.train.model import WeightsError, build, load_model, save_model
from wbc.train.schedule import factor

COUNTS = np.array([TABLE_1[c] for c in CLASSES])
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
    assert class_weights("none", np.array([10, 0, 5])).tolist() == [1, 1, 1]


def test_focal_loss_by_hand():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.4, 0.6]]))
    target, weights = torch.tensor([0, 0]), torch.tensor([2.0, 5.0])
    expected = -(2 * 0.1**2 * math.log(0.9) + 2 * 0.6**2 * math.log(0.4)) / 2  # p_t unweighted: 0.9 and 0.4
    assert focal(logits, target, weights, gamma=2.0).item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_without_focus_is_cross_entropy():
    torch.manual_seed(0)
    logits, target = torch.randn(6, 13), torch.arange(6)
    assert focal(logits, target, torch.ones(13), 0.0).item() == pytest.approx(F.cross_entropy(logits, target).item())


def test_cross_entropy_is_weighted():
    settings = Loss(name="cross_entropy", class_weights="none")
    logits, target = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    weighted = loss(settings, logits, target, torch.tensor([1.0, 3.0])).item()
    assert weighted == pytest.approx((math.log(2) + 3 * math.log(1 + math.e**2)) / 4)


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


# --- sampler and optimiser


def test_the_weighted_sampler_shows_every_class_equally_often():
    torch.manual_seed(0)
    targets = torch.tensor([0] * 900 + [2] * 90 + [1] * 10)
    counts = np.bincount(targets, minlength=13)
    drawn = torch.cat([torch.cat(sample("weighted", targets, counts, 32)) for _ in range(10)])
    shares = np.bincount(targets[drawn], minlength=13) / len(drawn)
    assert shares[:3] == pytest.approx([1 / 3] * 3, abs=0.02)


def test_shuffling_takes_each_image_once_and_drops_the_short_batch():
    targets = torch.zeros(70, dtype=torch.int64)
    batches = sample("shuffle", targets, np.array([70]), 32)
    assert [len(b) for b in batches] == [32, 32]
    assert len(set(torch.cat(batches).tolist())) == 64
    assert [len(b) for b in sample("shuffle", targets[:5], np.array([5]), 32)] == [5]


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
    settings = tiny_row.model_dump(exclude_none=True)
    for name in "ab":
        save_model(tmp_path / name, model, settings, normalisation)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded, again = load_model(tmp_path / "a")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), model.eval()(x))
    assert again == normalisation
    (tmp_path / "c").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="not a model of this project"):
        load_model(tmp_path / "c")


# --- the loop


def test_it_learns_and_keeps_the_best_epoch(tiny_row, coloured, tmp_path):
    row = tiny_row.model_copy(update={"augment": STILL})
    model, normalisation, progress = fit(row, coloured, coloured, tmp_path / "c.pt", log=lambda line: None)
    probabilities = plain(model, normalisation, coloured[0])
    f1 = [epoch[-1] for epoch in progress.history]
    assert progress.best_f1 == max(f1)
    assert progress.best_epoch == f1.index(max(f1)) + 1
    assert (probabilities.argmax(1) == coloured[1]).all()


def test_killed_and_resumed_ends_in_the_same_bits(tiny_row, coloured, tmp_path, monkeypatch):
    through = fit(tiny_row, coloured, coloured, tmp_path / "through.pt", log=lambda line: None)
    steps, real = [0], engine.loss

    def dies(*args, **kwargs):
        steps[0] += 1
        if steps[0] == 13:  # in the third epoch of five steps and a validation
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(engine, "loss", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_row, coloured, coloured, tmp_path / "killed.pt", log=lambda line: None)
    torch.manual_seed(123)  # another process would have another state
    lines = []
    resumed = fit(tiny_row, coloured, coloured, tmp_path / "killed.pt", log=lines.append)
    assert lines[0] == "resuming after epoch 2"
    assert resumed[2].history == through[2].history
    for name, tensor in through[0].state_dict().items():
        assert torch.equal(tensor, resumed[0].state_dict()[name]), name


def test_it_stops_when_patience_runs_out(tiny_row, coloured, tmp_path):
    row = tiny_row.model_copy(
        update={
            "train": tiny_row.train.model_copy(update={"patience": 2, "epochs": 10}),
            "optim": tiny_row.optim.model_copy(update={"lr_backbone": 1e-12, "lr_head": 1e-12}),
        }
    )
    progress = fit(row, coloured, coloured, tmp_path / "c.pt", log=lambda line: None)[2]
    assert (progress.best_epoch, progress.epoch) == (1, 3)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_rates(tiny_row, coloured, tmp_path):
    row = tiny_row.model_copy(
        update={"optim": tiny_row.optim.model_copy(update={"lr_backbone": 1e30, "lr_head": 1e30})}
    )
    with pytest.raises(TrainError, match=r"epoch 1: the loss is .* 1e\+30 \(backbone\)"):
        fit(row, coloured, coloured, tmp_path / "c.pt", log=lambda line: None)


def test_an_empty_part_is_said_before_training(tiny_row, coloured, tmp_path):
    nothing = (coloured[0][:0], coloured[1][:0])
    with pytest.raises(TrainError, match=r"no validation image: train.validation = 0.15"):
        fit(tiny_row, coloured, nothing, tmp_path / "c.pt")


def test_the_fingerprint_sees_settings_code_and_data(tmp_path):
    code, data = tmp_path / "code", tmp_path / "data.csv"
    code.mkdir()
    (code / "a.py").write_text("1")
    data.write_text("1")
    first = fingerprint({"lr": 1}, code, data)
    assert fingerprint({"lr": 1}, code, data) == first
    assert fingerprint({"lr": 2}, code, data) != first
    (code / "a.py").write_text("2")
    second = fingerprint({"lr": 1}, code, data)
    data.write_text("2")
    assert len({first, second, fingerprint({"lr": 1}, code, data)}) == 3


# --- prediction


def test_tta_is_the_mean_of_one_plain_and_r_tempered_passes(tiny_row, coloured):
    model, normalisation = build(tiny_row.model)
    images = coloured[0][:4]
    cold = tiny_row.tta.model_copy(update={"passes": 0, "temperature": 0.5})
    logits = model.eval()(Prepare(normalisation)(images))
    alone = tta(model, normalisation, images, tiny_row.augment, cold, seed=1)
    torch.testing.assert_close(alone, (logits / 0.5).softmax(1))
    still = tta(model, normalisation, images, STILL, tiny_row.tta, seed=1)  # nine equal passes
    torch.testing.assert_close(still, (logits / 0.8).softmax(1), atol=1e-4, rtol=1e-3)
    moved = tta(model, normalisation, images, tiny_row.augment, tiny_row.tta, seed=1)
    assert not torch.allclose(moved, still, atol=1e-5)
    torch.testing.assert_close(moved.sum(1), torch.ones(4))
    again = tta(model, normalisation, images, tiny_row.augment, tiny_row.tta, seed=1)
    assert torch.equal(again, moved)
    torch.testing.assert_close(plain(model, normalisation, images), logits.softmax(1))
