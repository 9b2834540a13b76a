"""The training loop: what it draws, learns, keeps and takes up again."""

import math

import numpy as np
import pytest
import torch
from torch._dynamo import lookup_backend

from settings import STILL, changed
from wbc.network.inference import InsufficientMemoryError, infer
from wbc.network.model import build
from wbc.network.pixels import STREAMING, Pixels
from wbc.network.prepare import Prepare
from wbc.train import engine
from wbc.train.engine import HISTORY, TrainError, fit, parameter_groups, sample
from wbc.train.losses import per_image
from wbc.train.mixing import one_hot

CPU = torch.device("cpu")


# --- sampler and optimiser


def test_the_weighted_sampler_shows_every_class_equally_often():
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([0] * 900 + [2] * 90 + [1] * 10)
    counts = torch.bincount(targets, minlength=13)
    drawn = torch.cat([torch.cat(sample("weighted", targets, counts, 32, generator)) for _ in range(10)])
    shares = np.bincount(targets[drawn], minlength=13) / len(drawn)
    assert shares[:3] == pytest.approx([1 / 3] * 3, abs=0.02)


def test_shuffling_takes_each_image_once_and_drops_the_short_batch():
    targets, generator = torch.zeros(70, dtype=torch.int64), torch.Generator()
    batches = sample("shuffle", targets, torch.tensor([70]), 32, generator)
    assert [len(b) for b in batches] == [32, 32]
    assert len(set(torch.cat(batches).tolist())) == 64
    assert [len(b) for b in sample("shuffle", targets[:5], torch.tensor([5]), 32, generator)] == [5]


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


# --- the loop
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
    target = one_hot(coloured.targets)
    by_hand = per_image(tiny_row.loss, logits, target, trainer.weights, trainer.counts).mean().item()
    assert loss == pytest.approx(by_hand)
    assert (loss, f1) == trainer.evaluate(coloured)


DRAWN = {"mix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}, "optim": {"clip_norm": 1.0}}


@pytest.mark.parametrize(
    ("groups", "deaths", "epochs"),  # of five steps an epoch
    [
        (DRAWN | {"train": {"freeze": 2}}, (3, 13, 18), 4),  # before and after the backbone is unfrozen
        (DRAWN | {"train": {"freeze": 2, "ema": 0.9}}, (13,), 4),
        ({"train": {"soup": 2}}, (13, 18), 4),  # two epochs a cycle: between its snapshots
        (DRAWN | {"train": {"retrain": 2, "ema": 0.9}}, (13, 23, 28), 6),  # before the head learns anew, and while
    ],
    ids=["plain", "ema", "soup", "retrain"],
)
def test_killed_and_resumed_ends_in_the_same_bits(tiny_row, coloured, tmp_path, monkeypatch, groups, deaths, epochs):
    """A training that dies in a step and goes on in another process ends as one that does not."""
    row, real = changed(tiny_row, **groups), engine.Trainer._step
    monkeypatch.setattr(engine, "CHECKPOINT_SHARE", math.inf)  # after every epoch
    through = fit(row, coloured, coloured, tmp_path / "through.pt")
    assert [epoch[0] for epoch in through[2].history] == [*range(1, epochs + 1)]
    for dies_in in deaths:
        steps = iter(range(1, dies_in + 1))

        def dies(*args, steps=steps, dies_in=dies_in):
            if next(steps) == dies_in:
                raise KeyboardInterrupt
            return real(*args)

        monkeypatch.setattr(engine.Trainer, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(row, coloured, coloured, tmp_path / f"{dies_in}.pt")
        monkeypatch.setattr(engine.Trainer, "_step", real)
        torch.manual_seed(123)  # another process would have another state
        seen = []
        model, _, progress = fit(row, coloured, coloured, tmp_path / f"{dies_in}.pt", on_epoch=seen.append)
        assert all(list(epoch) == list(HISTORY) for epoch in seen)  # those before the end of the first process too
        assert [list(epoch.values()) for epoch in seen] == progress.history == through[2].history
        for name, tensor in through[0].state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name]), name


def test_averaged_weights_are_scored_and_kept(tiny_row, coloured, tmp_path, monkeypatch):
    """The moving average of what each step left, worked out apart; of batch norms' statistics too."""
    row = changed(tiny_row, model={"name": "test_efficientnet"}, train={"epochs": 3, "ema": 0.7})
    states, scored, real = [], [], engine.Trainer._step

    def step(trainer, *batch):
        result = real(trainer, *batch)
        states.append(values(trainer.model))
        return result

    def evaluate(trainer, part):
        scored.append(values(trainer.scored))
        return 1.0, len(states) / 100  # the last epoch is the best

    monkeypatch.setattr(engine.Trainer, "_step", step)
    monkeypatch.setattr(engine.Trainer, "evaluate", evaluate)
    model = fit(row, coloured, coloured, tmp_path / "c.pt")[0]
    expected = dict(states[0])
    for number, state in enumerate(states[1:], start=1):
        decay = min(0.7, (1 + number) / (10 + number))
        for name, tensor in state.items():
            counter = name.endswith("num_batches_tracked")
            expected[name] = tensor if counter else decay * expected[name] + (1 - decay) * tensor
    assert any(name.endswith("running_var") for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(scored[-1][name], tensor)
        assert torch.equal(model.state_dict()[name], scored[-1][name])
    assert not torch.allclose(model.state_dict()["head.1.weight"], states[-1]["head.1.weight"])


def test_a_soup_is_the_mean_of_the_last_cycles_ends(tiny_row, coloured, tmp_path, monkeypatch):
    """It is kept whatever earlier epochs scored; batch norms' statistics are averaged too."""
    train = {"epochs": 7, "freeze": 1, "patience": 1, "soup": 2}  # cycles of two epochs end in 3, 5 and 7
    row = changed(tiny_row, model={"name": "test_efficientnet"}, train=train)
    states, scored = [], []

    def evaluate(trainer, part):
        states.append(values(trainer.model))
        scored.append(values(trainer.scored))
        return 1.0, 1 / len(states)

    monkeypatch.setattr(engine.Trainer, "evaluate", evaluate)
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    for name, tensor in model.state_dict().items():
        counter = name.endswith("num_batches_tracked")
        torch.testing.assert_close(tensor, states[6][name] if counter else (states[4][name] + states[6][name]) / 2)
        assert torch.equal(tensor, scored[6][name])
        assert all(torch.equal(scored[epoch][name], states[epoch][name]) for epoch in range(6)), name
    assert any(name.endswith("running_var") for name in states[0])
    assert not torch.allclose(states[4]["head.1.weight"], states[6]["head.1.weight"])
    assert (progress.best_epoch, progress.best_f1) == (7, 1 / 7)


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
    trainer.average = None
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


def test_a_linear_probe_is_one_layer_on_a_backbone_that_stays_as_it_is(tiny_row, coloured, tmp_path):
    settings = {"name": "test_efficientnet", "hidden": 0}
    row = changed(tiny_row, model=settings, train={"freeze": 4, "epochs": 4}, optim={"lr_head": 0.1})
    torch.manual_seed(row.seed)
    before = values(build(row.model, 32)[0])
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt")
    differ = {name for name, tensor in values(model).items() if not torch.equal(tensor, before[name])}
    assert differ == {"head.1.weight", "head.1.bias"}
    assert model.head[1].weight.shape == (13, model.backbone.num_features)
    assert [epoch[1] for epoch in progress.history] == [0.0] * 4


def test_a_retrained_head_is_a_new_one_on_the_best_backbone(tiny_row, coloured, tmp_path, monkeypatch):
    """From classes equally often, at its own rate's cosine, and kept though the first head scored higher."""
    row = changed(
        tiny_row,
        loss={"name": "logit_adjusted", "tau": 1.0, "class_weights": "class_balanced"},
        train={"epochs": 3, "sampler": "shuffle", "retrain": 2},
    )
    torch.manual_seed(row.seed)
    new = values(build(row.model, 32)[0].head)
    begun, ended, how, scores = [], [], [], iter([0.8, 0.9, 0.7, 0.3, 0.2])
    real_epoch, real_loss, real_sample = engine.Trainer.epoch, engine.per_image, engine.sample

    def epoch(trainer, number, bar):
        begun.append(values(trainer.model))
        result = real_epoch(trainer, number, bar)
        ended.append(values(trainer.model))
        return result

    def loss(settings, logits, target, weights, counts):
        how[-1] |= {settings.name, *weights.tolist()}
        return real_loss(settings, logits, target, weights, counts)

    def drawn(name, *args):
        how.append({name})
        return real_sample(name, *args)

    monkeypatch.setattr(engine.Trainer, "epoch", epoch)
    monkeypatch.setattr(engine, "per_image", loss)
    monkeypatch.setattr(engine, "sample", drawn)
    monkeypatch.setattr(engine.Trainer, "evaluate", lambda trainer, part: (1.0, next(scores)))
    seen = []
    model, _, progress = fit(row, coloured, coloured, tmp_path / "c.pt", lambda each: seen.append(each["epoch"]))

    head = {name: tensor for name, tensor in begun[3].items() if name.startswith("head.")}
    assert all(torch.equal(tensor, new[name.removeprefix("head.")]) for name, tensor in head.items())
    for state in (begun[3], ended[4], values(model)):
        assert all(torch.equal(tensor, ended[1][name]) for name, tensor in state.items() if name not in head)
    assert all(torch.equal(tensor, ended[3][name]) for name, tensor in values(model).items())
    assert not torch.equal(ended[3]["head.1.weight"], ended[1]["head.1.weight"])
    assert [each & {"shuffle", "weighted", "logit_adjusted", "cross_entropy"} for each in how] == [
        *[{"shuffle", "logit_adjusted"}] * 3, *[{"weighted", "cross_entropy"}] * 2
    ]  # fmt: skip
    assert all(each >= {1.0} and 0.0 not in each for each in how[3:])
    assert [epoch[1:3] for epoch in progress.history[3:]] == [[0.0, 1e-3], [0.0, 5e-4]]
    assert seen == [epoch[0] for epoch in progress.history] == [1, 2, 3, 4, 5]
    assert (progress.epoch, progress.best_epoch, progress.best_f1) == (5, 4, 0.3)


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
    with pytest.raises(
        InsufficientMemoryError, match=r"out of memory at train.batch_size = 8 and images.size = 32: lower one"
    ):
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
    model, _, progress = fit(
        tiny_row, train, validation, tmp_path / "b.pt", on_epoch=lambda e: seen.append(e.pop("epoch"))
    )
    assert seen == [1, 2, 3, 4]
    assert progress.history == through.history
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected.state_dict().items())
    assert not train.pixels.resident
    assert not validation.pixels.resident
    assert capsys.readouterr().out.count(STREAMING) == 1


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
