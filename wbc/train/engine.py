"""The training loop: resumable, and the same bits whether it was interrupted or not."""

import gc
import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kornia
import numpy as np
import timm
import torch
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from wbc.config.schema import Loss, Optim, Schedule, Training
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic
from wbc.core.progress import Bar
from wbc.network.inference import InsufficientMemoryError, autocast, enough_memory, infer
from wbc.network.model import Classifier, build
from wbc.network.pixels import STREAMING, Part
from wbc.network.prepare import Prepare
from wbc.scoring.scores import macro_f1
from wbc.train.losses import CLASS_WEIGHTS, normaliser, per_image, smoothed
from wbc.train.mixing import Mixing, one_hot
from wbc.train.schedule import factors

# What is known of each epoch. The training F1 is of augmented images; of a mixed one it takes the larger share's class.
HISTORY = ("epoch", "lr/backbone", "lr/head", "train/loss", "train/f1", "val/loss", "val/f1")
CHUNK = {"cpu": 128, "cuda": 256}  # images augmented at once: fewer waste the time on overhead
BATCHES = 4  # augmented at once at most, so that a smaller batch takes less memory
CHECKPOINT_SHARE = 0.02  # of the time that may be spent on checkpoints


class TrainError(UserError):
    """Training cannot go on; the message is one line saying where and why."""


@dataclass
class Progress:
    """Everything about a training that changes from epoch to epoch, beside the model and the optimiser."""

    epoch: int = 0  # epochs completed
    best_epoch: int = 0  # 1-based, as the report counts
    best_f1: float = -1.0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[list[float]] = field(default_factory=list)  # one row of HISTORY per epoch

    def finished(self, epochs: int, patience: int) -> bool:
        return self.epoch >= epochs or self.epoch - self.best_epoch >= patience


def checkpoint_key(*parts: Any) -> str:
    """Short hash of settings (anything JSON can hold), of whole files (as `Path`) and of the libraries' versions."""
    digest = hashlib.sha256(repr([library.__version__ for library in (torch, torchvision, timm, kornia)]).encode())
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def fit(
    row: Training,
    train: Part,
    validation: Part,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, float]], None] = lambda epoch: None,
) -> tuple[Classifier, dict[str, list[float]], Progress]:
    """Train a row's classifier and keep the epoch of the best validation macro F1.

    Random draws of an epoch are seeded by its number, so an epoch depends on nothing but the state it starts from.
    Where images fill the GPU's memory so far that the training runs out of it, they are read as they are needed from
    then on: it begins again at its checkpoint, and ends in the same bits.

    Args:
        row: the row's resolved settings.
        train: the images to learn from.
        validation: those that choose the epoch.
        checkpoint: where the state after an epoch is kept. If it exists, training goes on from it; its name must
            identify settings, code and data, because nothing else is compared. A damaged one is set aside.
        on_epoch: takes the values of `HISTORY` by name after every epoch, also of those before an interruption.

    Returns:
        The classifier with the best epoch's weights, the normalisation of its input, and the history. With
        `train.retrain`, the best of the later epochs: they follow the first ones in the history.

    Raises:
        TrainError: a part is empty, or the loss is no longer finite.
        InsufficientMemoryError: the memory does not suffice.
        WeightsError: the pretrained weights are out of reach.
    """
    for name, part in (("training", train), ("validation", validation)):
        if not len(part.targets):
            raise TrainError(f"no {name} image: train.validation = {row.train.validation} of so few leaves none")
    advice = f"at train.batch_size = {row.train.batch_size} and images.size = {train.pixels.size}: lower one of them"
    logged = 0

    def log_new(epoch: dict[str, float]) -> None:
        nonlocal logged
        if epoch["epoch"] > logged:
            logged = epoch["epoch"]
            on_epoch(epoch)

    while True:
        try:
            with enough_memory(advice):
                return _stages(row, train, validation, checkpoint, log_new)
        except InsufficientMemoryError:
            resident = [part.pixels for part in (train, validation) if part.pixels.resident]
            if not resident:
                raise
        for pixels in resident:  # beyond `except`, which holds on to the step that failed
            pixels.stream()
        gc.collect()
        torch.cuda.empty_cache()
        log(STREAMING)


def _stages(
    row: Training, train: Part, validation: Part, checkpoint: Path, on_epoch: Callable[[dict[str, float]], None]
) -> tuple[Classifier, dict[str, list[float]], Progress]:
    """One training or, with `train.retrain`, a second one: of a new head on the first one's best backbone."""
    model, normalisation, before = _fit(row, train, validation, checkpoint, on_epoch)
    if not row.train.retrain:
        return model, normalisation, before

    def on_later(epoch: dict[str, float]) -> None:
        on_epoch(epoch | {"epoch": before.epoch + epoch["epoch"]})

    log(f"the head learns anew, on the backbone of epoch {before.best_epoch}")
    again = checkpoint.with_name(f"retrain-{checkpoint.name}")
    model, _, after = _fit(retraining(row), train, validation, again, on_later, model.backbone.state_dict())
    after.history = before.history + [[before.epoch + number, *values] for number, *values in after.history]
    after.epoch, after.best_epoch = before.epoch + after.epoch, before.epoch + after.best_epoch
    return model, normalisation, after


def retraining(row: Training) -> Training:
    """Settings of classifier re-training (cRT: Kang et al. 2020, §4): a frozen backbone, every class equally often.

    The loss is cross-entropy without class weights or margins, since no class is rare any more.
    """
    epochs = row.train.retrain
    changes = {
        "loss": Loss(name="cross_entropy", smoothing=row.loss.smoothing, class_weights="none"),
        "schedule": Schedule(name="cosine", floor=row.schedule.floor),
        "train": row.train.model_copy(update={"epochs": epochs, "freeze": epochs, "sampler": "weighted"}),
    }
    return row.model_copy(update=changes)


def _fit(
    row: Training,
    train: Part,
    validation: Part,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, float]], None],
    backbone: dict[str, torch.Tensor] | None = None,
) -> tuple[Classifier, dict[str, list[float]], Progress]:
    trainer = Trainer(row, train, backbone)
    progress = Progress()
    if state := _read(checkpoint):
        progress = trainer.restore(state)
        for epoch in progress.history:
            on_epoch(dict(zip(HISTORY, epoch, strict=True)))
        log(f"resuming after epoch {progress.epoch}")

    saver = Saver(checkpoint)
    images = drop_last(len(train.targets), row.train.batch_size)
    bar = Bar(
        "images",
        row.train.epochs * images,
        initial=progress.epoch * images,
        unit="img",
        unit_scale=True,
    )
    begun, done = time.perf_counter(), progress.epoch
    with bar:
        while not progress.finished(row.train.epochs, row.train.patience):
            started = time.perf_counter()
            rates, train_loss, train_f1 = trainer.epoch(progress.epoch, bar)
            speed = images / (time.perf_counter() - started)
            val_loss, val_f1 = trainer.evaluate(validation)
            progress.epoch += 1
            progress.history.append([progress.epoch, *rates, train_loss, train_f1, val_loss, val_f1])
            if val_f1 > progress.best_f1 or row.train.soup:  # a soup is ready in the last epoch, whatever others score
                progress.best_f1, progress.best_epoch = val_f1, progress.epoch
                progress.best_weights = {k: t.cpu().clone() for k, t in trainer.scored.state_dict().items()}
            saver.save(trainer, progress)
            on_epoch(dict(zip(HISTORY, progress.history[-1], strict=True)))
            each = (time.perf_counter() - begun) / (progress.epoch - done)
            left = tqdm.format_interval(each * (row.train.epochs - progress.epoch))
            log(
                f"epoch {progress.epoch:>3}/{row.train.epochs}  loss {train_loss:.4f}  val loss {val_loss:.4f}  val F1 "
                f"{val_f1:.4f}  best {progress.best_f1:.4f} ({progress.best_epoch})  {speed:,.0f} images/s  {left} left"
            )

    trainer.model.load_state_dict(progress.best_weights)
    return trainer.model.cpu().eval(), trainer.normalisation, progress


class Trainer:
    """A model with all that changes it, epoch by epoch."""

    def __init__(self, row: Training, train: Part, backbone: dict[str, torch.Tensor] | None = None):
        self.row, self.train, self.device = row, train, train.pixels.device
        torch.manual_seed(row.seed)
        model, self.normalisation = build(row.model, train.pixels.size)
        if backbone:  # in place of the one that model.weights names
            model.backbone.load_state_dict(backbone)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.augmented = Prepare(self.normalisation, row.augment).to(self.device)
        self.plain = Prepare(self.normalisation).to(self.device)
        self.mixing = Mixing(row.mix)
        self.targets = train.targets.to(self.device)
        counts = np.bincount(train.targets.numpy(), minlength=len(CLASSES))
        self.counts = torch.from_numpy(counts).to(self.device)
        weights = CLASS_WEIGHTS[row.loss.class_weights](counts)
        self.weights = torch.tensor(weights, dtype=torch.float32, device=self.device)
        # batch norms' statistics too: those of the weights as they are would not be the average's
        how = mean if row.train.soup else ema(row.train.ema)
        averaged = row.train.soup or row.train.ema
        self.average = AveragedModel(self.model, multi_avg_fn=how, use_buffers=True) if averaged else None
        # what validation sees and what is kept; of a soup, see `epoch`
        self.scored = self.average.module if row.train.ema else self.model
        self.begin(frozen=row.train.freeze > 0)

    def begin(self, frozen: bool) -> None:
        """Start a phase, with a new optimiser: the head alone, or everything (report §7.7.3).

        A frozen backbone is in evaluation mode: its batch norms keep their statistics, and it drops nothing.
        """
        self.frozen = frozen
        self.model.backbone.requires_grad_(not frozen)
        self.optimiser = torch.optim.AdamW(parameter_groups(self.model, self.row.optim), fused=True)
        self.network = torch.compile(self.model) if self.row.train.compile else self.model

    def restore(self, state: dict[str, Any]) -> Progress:
        """Take up the state that `Saver` kept."""
        progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.begin(frozen=progress.epoch <= self.row.train.freeze)  # the phase of the last epoch, not of the next
        self.optimiser.load_state_dict(state["optimiser"])
        return progress

    def epoch(self, number: int, bar: tqdm) -> tuple[tuple[float, float], float, float]:
        """Epoch `number` (from 0): the learning rates of backbone and head, the mean loss and the macro F1."""
        row = self.row
        if number == row.train.freeze and self.frozen:
            self.begin(frozen=False)
        scales = factors(row.schedule, number, row.train.epochs, row.train.freeze)
        rates = (scales[0] * row.optim.lr_backbone, scales[1] * row.optim.lr_head)
        for group in self.optimiser.param_groups:
            group["lr"] = rates[group["part"]]
        torch.manual_seed(seeded(row.seed, number, 0))  # augmentation, mixing and dropout
        order = torch.Generator().manual_seed(seeded(row.seed, number, "order"))
        batches = sample(row.train.sampler, self.train.targets, self.counts.cpu(), row.train.batch_size, order)

        self.model.train()
        self.model.backbone.train(not self.frozen)
        losses, predicted, drawn = [], [], []
        for prepared, index in self._prepared(batches):
            images, targets = self.mixing(prepared, self.targets[index])
            value, logits = self._step(images, targets)
            losses.append(value)  # read at the end: a look at every step would wait for the GPU
            predicted.append(logits.argmax(1))
            drawn.append(targets.argmax(1))
            bar.update(row.train.batch_size)
        losses = torch.stack(losses).cpu()
        if not losses.isfinite().all():
            step = int((~losses.isfinite()).nonzero()[0])
            raise TrainError(
                f"epoch {number + 1}, step {step + 1}: the loss is {losses[step]} at learning rates "
                f"{rates[0]:g} (backbone) and {rates[1]:g} (head): lower optim.lr_backbone and optim.lr_head"
            )
        if row.train.soup:
            left = row.train.epochs - 1 - number  # the epochs are whole cycles
            ends = left % row.schedule.period == 0 and left < row.train.soup * row.schedule.period
            if ends:
                self.average.update_parameters(self.model)
            self.scored = self.average.module if ends else self.model
        drawn, predicted = (torch.cat(each).cpu().numpy() for each in (drawn, predicted))
        return rates, losses.mean().item(), macro_f1(drawn, predicted)

    def evaluate(self, part: Part) -> tuple[float, float]:
        """Loss and macro F1 of a part, without augmentation."""
        logits = infer(self.scored, self.plain, part.pixels)
        targets, weights = one_hot(part.targets), self.weights.cpu()
        losses = per_image(self.row.loss, logits, targets, weights, self.counts.cpu())
        loss = losses.sum() / normaliser(self.row.loss, targets, weights)
        return loss.item(), macro_f1(part.targets.numpy(), logits.argmax(1).numpy())

    def _prepared(self, batches: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Each batch's augmented images and its places, augmented several batches at a time."""
        group = max(1, min(CHUNK[self.device.type], BATCHES * self.row.train.batch_size) // len(batches[0]))
        chunks = [batches[i : i + group] for i in range(0, len(batches), group)]
        for chunk, pixels in zip(chunks, self.train.pixels.batches(map(torch.cat, chunks)), strict=True):
            prepared = self.augmented(pixels).split([len(batch) for batch in chunk])
            for images, batch in zip(prepared, chunk, strict=True):
                yield images, batch.to(self.device, non_blocking=True)

    def _step(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One optimiser step: the batch's mean loss, and the logits."""
        row = self.row
        with autocast(self.device):
            logits = self.network(images)
        logits = logits.float()
        targets = smoothed(targets, self.counts, row.loss.smoothing)
        losses = per_image(row.loss, logits, targets, self.weights, self.counts)
        value = losses.sum() / normaliser(row.loss, targets, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        if row.optim.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), row.optim.clip_norm)
        self.optimiser.step()
        if row.train.ema:
            self.average.update_parameters(self.model)
        return value.detach(), logits.detach()


class Saver:
    """Keeps the latest state on disk, as often as costs no more than `CHECKPOINT_SHARE` of the time."""

    def __init__(self, path: Path):
        self.path, self.cost, self.last = path, 0.0, float("-inf")

    def save(self, trainer: Trainer, progress: Progress) -> None:
        started = time.perf_counter()
        if started - self.last < self.cost / CHECKPOINT_SHARE:
            return
        state = {
            "model": trainer.model.state_dict(),
            "optimiser": trainer.optimiser.state_dict(),
            "progress": vars(progress),
        }
        if trainer.average:
            state["average"] = trainer.average.state_dict()
        with atomic(self.path) as temporary:
            torch.save(state, temporary)
        self.last = time.perf_counter()
        self.cost = self.last - started


def _read(checkpoint: Path) -> dict[str, Any] | None:
    """The state that `Saver` kept."""
    if not checkpoint.exists():
        return None
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if damaged := archive.testzip():  # PyTorch compares no checksums: a flipped bit would train on
                raise zipfile.BadZipFile(f"checksum of {damaged}")
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError:  # it may be sound: no permission, a server that does not answer
        raise
    except Exception as error:  # PyTorch raises many kinds
        aside = checkpoint.replace(checkpoint.with_suffix(".damaged"))
        log(f"{checkpoint} is damaged ({type(error).__name__}), now {aside.name}: training starts from the beginning")
        return None


def parameter_groups(model: Classifier, settings: Optim) -> list[dict[str, Any]]:
    """AdamW's groups: two learning rates (report §7.2.1), and no decay on norms, biases and layer scales.

    `part` is 0 for the backbone and 1 for the head. Frozen parameters are in no group.
    """
    groups = []
    for part, (module, rate) in enumerate(((model.backbone, settings.lr_backbone), (model.head, settings.lr_head))):
        parameters = [p for p in module.parameters() if p.requires_grad]
        for decay, chosen in (
            (settings.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "part": part, "weight_decay": decay})
    return groups


def ema(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], torch.Tensor], None]:
    """What moves averaged tensors towards those of a step, by 1 - decay: an exponential moving average.

    The first steps move it further, by 1 - (1 + n) / (10 + n) after n of them, as TensorFlow's does: a training of few
    steps would otherwise end near its beginning.
    """

    def update(averages: list[torch.Tensor], values: list[torch.Tensor], number: torch.Tensor) -> None:
        _move(averages, values, 1 - ((1 + number) / (10 + number)).clamp(max=decay))

    return update


def mean(averages: list[torch.Tensor], values: list[torch.Tensor], number: torch.Tensor) -> None:
    """Make means of `number` tensors those of one more each."""
    _move(averages, values, 1 / (1 + number))


@torch.no_grad()
def _move(averages: list[torch.Tensor], values: list[torch.Tensor], share: torch.Tensor) -> None:
    if not averages[0].is_floating_point():  # a batch norm's counter
        torch._foreach_copy_(averages, values)
        return
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, share.to(average.dtype))


def sample(
    name: str, targets: torch.Tensor, counts: torch.Tensor, batch_size: int, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Index batches of one epoch, (batch_size,) int64 each, on the CPU.

    `weighted` draws as many images as there are, with replacement, every class equally often (report §7.2.1);
    `shuffle` takes each once.
    """
    if name == "weighted":
        weights = 1 / counts.double().clamp(min=1)
        order = torch.multinomial(weights[targets], len(targets), replacement=True, generator=generator)
    else:
        order = torch.randperm(len(targets), generator=generator)
    return order[: drop_last(len(order), batch_size)].split(batch_size)


def drop_last(count: int, batch_size: int) -> int:
    """Images of an epoch: a last, smaller batch is left out, since batch norm would see too few images in it."""
    return count - count % batch_size or count


def seeded(*parts: int | str) -> int:
    """A seed of 63 bits for what `parts` name."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def log(line: str) -> None:
    """Print a line above the progress bar."""
    tqdm.write(line)
