"""The training loop: what it samples, learns, keeps and resumes."""

import math
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch._dynamo import lookup_backend

from settings import STILL, changed
from wbc.network.inference import InsufficientMemoryError, infer
from wbc.network.model import build
from wbc.network.pixels import Pixels
from wbc.network.prepare import Prepare
from wbc.train import engine
from wbc.train.engine import HISTORY, Trainer, TrainError, fit, parameter_groups, sample
from wbc.train.mixing import one_hot

SILENT = engine.tqdm(disable=True)


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one, other):
    return {name for name in one if torch.equal(one[name], other[name])}


def record(monkeypatch, name, values, watch):
    """Append `watch(trainer)` to `values` before each call of a method of `Trainer`."""
    method = getattr(Trainer, name)

    def recorded(trainer, *args):
        values.append(watch(trainer))
        return method(trainer, *args)

    monkeypatch.setattr(Trainer, name, recorded)


def score(monkeypatch, scores, states):
    """Replace the validation by given scores; note the weights of the model and of the one that is kept."""
    scores = iter(scores)

    def evaluate(trainer, part):
        states.append(state(trainer.model))
        return 1.0, next(scores)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)


def test_samplers():
    targets, generator = torch.tensor([0] * 900 + [2] * 90 + [1] * 10), torch.Generator().manual_seed(0)
    counts = torch.bincount(targets, minlength=13)
    drawn = torch.cat([torch.cat(sample("weighted", targets, counts, 32, generator)) for _ in range(10)])
    fractions = np.bincount(targets[drawn], minlength=13) / len(drawn)
    assert fractions[:3] == pytest.approx([1 / 3] * 3, abs=0.02)
    for count, sizes in ((70, [32, 32]), (5, [5])):
        batches = sample("shuffle", targets[:count], counts, 32, generator)
        assert [len(batch) for batch in batches] == sizes
        assert len(set(torch.cat(batches).tolist())) == sum(sizes)


def test_learning_rates_and_weight_decay(tiny_row):
    model, _ = build(tiny_row.model)
    groups, settings = parameter_groups(model, tiny_row.optim), tiny_row.optim
    group_of = {id(p): group for group in groups for p in group["params"]}
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert len(norms) > 5
    for name, parameter in model.named_parameters():
        group, free = group_of[id(parameter)], name in norms or name.endswith(("bias", "gamma"))
        assert group["lr"] == (settings.lr_head if name.startswith("head.") else settings.lr_backbone)
        assert group["weight_decay"] == (0.0 if free else settings.weight_decay), name


def test_it_learns(tiny_row, coloured, tmp_path):
    row = tiny_row.model_copy(update={"augment": STILL})
    model, normalisation, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    assert progress.best_f1 == 1.0
    assert (infer(model, Prepare(normalisation), coloured.pixels).argmax(1) == coloured.targets).all()


def test_the_best_epoch_is_kept_until_patience_runs_out(tiny_row, coloured, tmp_path, monkeypatch):
    states, row = [], changed(tiny_row, train={"patience": 2, "epochs": 10})
    score(monkeypatch, [0.1, 0.5, 0.3, 0.5], states)
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    assert (progress.best_epoch, progress.best_f1, len(progress.history)) == (2, 0.5, 4)
    assert equal(state(model), states[1]) == set(states[1])


def test_without_patience_the_last_epoch_is_kept(tiny_row, coloured, tmp_path, monkeypatch):
    row = changed(tiny_row, train={"patience": 0, "epochs": 3})
    score(monkeypatch, [0.5, 0.1, 0.3], states := [])
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    assert (progress.best_epoch, progress.best_f1, len(progress.history)) == (3, 0.3, 3)
    assert equal(state(model), states[2]) == set(states[2])


def test_validation_is_not_augmented(tiny_row, coloured):
    trainer = Trainer(tiny_row, coloured)
    loss, f1 = trainer.evaluate(coloured)
    logits = infer(trainer.model, Prepare(trainer.normalisation), coloured.pixels)
    expected = trainer.loss(logits, one_hot(coloured.targets), trainer.weights)
    assert loss == pytest.approx(expected.item())
    assert (loss, f1) == trainer.evaluate(coloured)


MIXED = {"mix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}}


@pytest.mark.parametrize(
    ("groups", "deaths", "epochs"),  # five steps per epoch
    [
        (MIXED | {"train": {"freeze": 2}}, (3, 13, 18), 4),  # before and after the backbone is unfrozen
        (MIXED | {"train": {"retrain": 2}}, (13, 23, 28), 6),  # before and during the retraining
    ],
    ids=["plain", "retrain"],
)
def test_killed_and_resumed_ends_in_the_same_bits(tiny_row, coloured, tmp_path, monkeypatch, groups, deaths, epochs):
    row, step = changed(tiny_row, **groups), Trainer.step
    monkeypatch.setattr(engine, "CHECKPOINT_FRACTION", math.inf)  # after every epoch
    expected = fit(row, coloured, coloured, tmp_path / "through.pt")
    assert [epoch[0] for epoch in expected.progress.history] == [*range(1, epochs + 1)]
    for death in deaths:
        steps = iter(range(1, death + 1))

        def dying(*args, steps=steps, death=death):
            if next(steps) == death:
                raise KeyboardInterrupt
            return step(*args)

        monkeypatch.setattr(Trainer, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(row, coloured, coloured, tmp_path / f"{death}.pt")
        monkeypatch.setattr(Trainer, "step", step)
        torch.manual_seed(123)  # another process has another random state
        reported = []
        model, _, progress = fit(row, coloured, coloured, tmp_path / f"{death}.pt", reported.append)
        assert all(list(epoch) == list(HISTORY) for epoch in reported)
        assert [list(epoch.values()) for epoch in reported] == progress.history == expected.progress.history
        assert equal(state(model), state(expected.model)) == set(state(model))


def test_checkpoints_take_a_small_fraction_of_the_time(tmp_path, monkeypatch):
    now, saved, layer = SimpleNamespace(epoch=0), [], torch.nn.Linear(1, 1)
    monkeypatch.setattr(torch, "save", lambda state, path: path.touch() or saved.append(now.epoch))
    monkeypatch.setattr(engine.time, "perf_counter", lambda: 3.0 * now.epoch + len(saved))  # a checkpoint takes 1 s
    checkpoint = engine.Checkpoint(tmp_path / "c.pt")
    for now.epoch in range(100):
        checkpoint.save(SimpleNamespace(model=layer, optimiser=layer), engine.Progress(0))
    assert len(saved) / 300 == pytest.approx(engine.CHECKPOINT_FRACTION, rel=0.2)
    assert saved[0] == 0


@pytest.mark.parametrize(("freeze", "hidden"), [(2, 512), (3, 0)], ids=["unfrozen", "probe"])
def test_a_frozen_backbone_keeps_its_weights_and_statistics(tiny_row, coloured, tmp_path, monkeypatch, freeze, hidden):
    settings = {"name": "test_efficientnet", "dropout": 0.5, "hidden": hidden}
    row = changed(tiny_row, model=settings, train={"freeze": freeze, "epochs": 3})
    before, modes, states = [], [], []
    record(monkeypatch, "epoch", before, lambda trainer: state(trainer.model))
    record(monkeypatch, "evaluate", modes, lambda it: (it.model.backbone.training, it.model.head.training))
    record(monkeypatch, "evaluate", states, lambda trainer: state(trainer.model))
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    backbone = {name for name in before[0] if name.startswith("backbone.")}
    assert equal(before[0], states[freeze - 1]) == backbone
    assert modes == [(epoch >= freeze, True) for epoch in range(3)]  # the head's dropout is always active
    assert (equal(before[0], states[2]) == backbone) == (freeze == 3)
    assert [epoch[1] for epoch in progress.history] == [0.0] * freeze + [row.optim.lr_backbone] * (3 - freeze)
    if not hidden:
        assert model.head[1].weight.shape == (13, model.backbone.num_features)


def test_retraining_fits_a_new_head_to_the_best_backbone(tiny_row, coloured, tmp_path, monkeypatch):
    loss = {"class_weights": "log_dampened"}
    row = changed(tiny_row, loss=loss, train={"epochs": 3, "sampler": "shuffle", "retrain": 2})
    torch.manual_seed(row.seed)
    new = {f"head.{name}": tensor for name, tensor in state(build(row.model, 32)[0].head).items()}
    begun, ended, rows = [], [], []
    record(monkeypatch, "epoch", begun, lambda trainer: state(trainer.model))
    record(monkeypatch, "epoch", rows, lambda it: (it.row.loss.name, it.row.train.sampler, set(it.weights.tolist())))
    score(monkeypatch, [0.8, 0.9, 0.7, 0.3, 0.2], ended)
    seen = []
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt", lambda epoch: seen.append(epoch["epoch"]))
    backbone = set(begun[0]) - set(new)
    assert equal(new, begun[3]) == set(new)
    for later in (begun[3], ended[4], state(model)):
        assert equal(later, ended[1]) >= backbone
    assert equal(state(model), ended[3]) == set(begun[0])  # kept although the first head scored higher
    assert not equal(ended[3], ended[1]) & {"head.1.weight"}
    assert [each[:2] for each in rows] == [("focal", "shuffle")] * 3 + [("cross_entropy", "weighted")] * 2
    assert rows[3][2] == {1.0}
    assert [epoch[1:3] for epoch in progress.history[3:]] == [[0.0, 1e-3], [0.0, 5e-4]]
    assert seen == [epoch[0] for epoch in progress.history] == [1, 2, 3, 4, 5]
    assert (progress.best_epoch, progress.best_f1) == (4, 0.3)


def test_every_epoch_draws_anew(tiny_row, coloured, monkeypatch):
    epochs, prepared = [], Trainer.prepared

    def watched(trainer, batches):
        epochs.append((torch.cat(batches).tolist(), torch.initial_seed(), []))
        for images, index in prepared(trainer, batches):
            epochs[-1][2].append(images[0].sum().item())
            yield images, index

    monkeypatch.setattr(Trainer, "prepared", watched)
    trainer = Trainer(changed(tiny_row, train={"sampler": "shuffle"}), coloured)
    for epoch in (0, 1, 0):
        trainer.epoch(epoch, SILENT)
    first, second, again = epochs
    assert first == again
    assert all(one != other for one, other in zip(first, second, strict=True))  # order, seed and augmented images
    assert sorted(first[0]) == sorted(second[0]) == list(range(40))


def test_an_empty_part_and_a_loss_that_is_not_finite_are_errors(tiny_row, coloured, tmp_path):
    with pytest.raises(TrainError, match=r"no validation image: train.validation = 0.15"):
        fit(tiny_row, coloured, coloured._replace(targets=coloured.targets[:0]), tmp_path / "c.pt")
    row = changed(tiny_row, optim={"lr_backbone": 1e30, "lr_head": 1e30})
    with pytest.raises(TrainError, match=r"epoch 1, step 2: the loss is nan at .* 1e\+30 \(backbone\)"):
        fit(row, coloured, coloured, tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


ALLOCATION = [RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), RuntimeError("[enforce] can't allocate memory")]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), *ALLOCATION])
def test_too_little_memory_names_the_settings_to_lower(tiny_row, coloured, tmp_path, monkeypatch, error):
    monkeypatch.setattr(Trainer, "step", Mock(side_effect=error))
    message = r"out of memory at train.batch_size = 8 and images.size = 32: lower one"
    with pytest.raises(InsufficientMemoryError, match=message):
        fit(tiny_row, coloured, coloured, tmp_path / "c.pt")


def test_resident_images_that_leave_too_little_memory_are_streamed(tiny_row, coloured, tmp_path, monkeypatch, capsys):
    """The training restarts from the last checkpoint and ends in the same bits; no epoch is reported twice."""
    expected = fit(tiny_row, coloured, coloured, tmp_path / "a.pt")
    pixels = [Pixels(coloured.pixels.packed, np.arange(40), torch.device("cpu"), resident=True) for _ in range(2)]
    train, validation = (coloured._replace(pixels=each) for each in pixels)
    seen, step = [], Trainer.step

    def full(trainer, *batch):
        if trainer.train.pixels.images is not None and len(seen) == 2:
            raise torch.OutOfMemoryError("CUDA")
        return step(trainer, *batch)

    monkeypatch.setattr(engine, "CHECKPOINT_FRACTION", 1e-9)  # only after the first epoch: the second is repeated
    monkeypatch.setattr(Trainer, "step", full)
    fitted = fit(tiny_row, train, validation, tmp_path / "b.pt", lambda epoch: seen.append(epoch.pop("epoch")))
    assert seen == [1, 2, 3, 4]
    assert fitted.progress.history == expected.progress.history
    assert equal(state(fitted.model), state(expected.model)) == set(state(expected.model))
    assert [each.images for each in pixels] == [None, None]
    assert capsys.readouterr().out.count(engine.STREAMING) == 1


def test_a_compiled_model_computes_the_same(tiny_row, coloured, tmp_path, monkeypatch):
    """Traced and differentiated ahead of time; generating machine code would take a minute."""
    row = changed(tiny_row, train={"epochs": 2, "freeze": 1})
    eager = fit(row, coloured, coloured, tmp_path / "a.pt")
    backend = Mock(side_effect=lookup_backend("aot_eager"))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiled = fit(changed(row, train={"compile": True}), coloured, coloured, tmp_path / "b.pt")
    assert backend.call_count >= 2  # in both phases
    assert np.allclose(compiled.progress.history, eager.progress.history, rtol=1e-3)
    assert list(compiled.model.state_dict()) == list(eager.model.state_dict())
