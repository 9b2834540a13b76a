"""The training loop. An interrupted training resumes and ends with the same bits as an uninterrupted one."""

import gc
import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import kornia
import numpy as np
import timm
import torch
import torchvision
from torch import nn
from tqdm import tqdm

from wbc.config.schema import Loss, Optim, Schedule, Training
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic
from wbc.core.progress import Bar
from wbc.network.inference import InsufficientMemoryError, autocast, enough_memory, infer
from wbc.network.model import Classifier, build, check_size
from wbc.network.pixels import Part
from wbc.network.prepare import Prepare
from wbc.scoring.scores import macro_f1
from wbc.train.losses import CLASS_WEIGHTS, LOSSES
from wbc.train.mixing import mixing, one_hot
from wbc.train.schedule import factors

# Values of each epoch. The training F1 is of augmented images; a mixed image counts as its larger fraction's class.
HISTORY = ("epoch", "lr/backbone", "lr/head", "train/loss", "train/f1", "val/loss", "val/f1")
CHUNK = {"cpu": 128, "cuda": 256}  # images that are augmented together; fewer are slower for each image
BATCHES = 4  # batches that are augmented together at most, so that a smaller batch needs less memory
CHECKPOINT_FRACTION = 0.02  # of the time that checkpoints may take
STREAMING = "out of memory with all images on the GPU: they are read as they are needed"
OnEpoch = Callable[[dict[str, float]], None]


class TrainError(UserError):
    """The training cannot continue; the message is one line saying where and why."""


@dataclass
class Progress:
    """The state of a training beside model and optimiser."""

    best_epoch: int  # from 1
    best_f1: float = -1.0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[list[float]] = field(default_factory=list)  # the values of HISTORY for each epoch


class Fitted(NamedTuple):
    model: Classifier  # with the weights of the best epoch
    normalisation: dict[str, list[float]]  # of its images: `mean` and `std` per channel, of values in 0…1
    progress: Progress


def checkpoint_key(settings: Any, files: Iterable[Path]) -> str:
    """Hash settings (any JSON value), the content of files and the versions of the libraries."""
    versions = [library.__version__ for library in (torch, torchvision, timm, kornia)]
    digest = hashlib.sha256(json.dumps([settings, versions], sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def fit(
    row: Training, train: Part, validation: Part, checkpoint: Path, on_epoch: OnEpoch = lambda epoch: None
) -> Fitted:
    """Train a row's classifier and keep the epoch with the best validation macro F1, or the last one.

    The random numbers of an epoch are seeded by its number, so an epoch depends only on the state at its start. If
    resident images leave the training too little GPU memory, it restarts from its checkpoint and streams them. With
    `train.retrain`, the best epoch is one of the retraining, whose epochs follow in the history.

    `checkpoint` is the file of the latest state, from which the training resumes. Its name must identify settings, code
    and data, since these are not compared. `on_epoch` is called after every epoch with the values of `HISTORY` by name,
    also for the epochs before an interruption.

    Raises:
        TrainError: a part is empty, or the loss is not finite.
        InsufficientMemoryError: memory does not suffice.
        WeightsError: the pretrained weights cannot be loaded.
    """
    for name, part in (("training", train), ("validation", validation)):
        if not len(part.targets):
            raise TrainError(f"no {name} image: train.validation = {row.train.validation} of so few leaves none")
    advice = f"at train.batch_size = {row.train.batch_size} and images.size = {train.pixels.size}: lower one of them"
    reported = set()

    def report(epoch: dict[str, float]) -> None:
        if epoch["epoch"] not in reported:
            reported.add(epoch["epoch"])
            on_epoch(epoch)

    while True:
        try:
            with enough_memory(advice):
                fitted = _run_epochs(row, train, validation, checkpoint, report)
                return _retrain(row, train, validation, checkpoint, report, fitted) if row.train.retrain else fitted
        except InsufficientMemoryError:
            resident = [part.pixels for part in (train, validation) if part.pixels.images is not None]
            if not resident:
                raise
        for pixels in resident:  # after `except`, which keeps the failed step's tensors alive
            pixels.images = None
        gc.collect()
        torch.cuda.empty_cache()
        tqdm.write(STREAMING)


def _retrain(
    row: Training, train: Part, validation: Part, checkpoint: Path, on_epoch: OnEpoch, first: Fitted
) -> Fitted:
    """Train a new head on the frozen best backbone (cRT: Kang et al. 2020, §4), with class-balanced sampling.

    The loss is cross-entropy without class weights or margins, since the sampler already balances the classes.
    """
    tqdm.write(f"retraining the head on the backbone of epoch {first.progress.best_epoch}")
    epochs, checkpoint = row.train.retrain, checkpoint.with_name(f"retrain-{checkpoint.name}")
    changes = {
        "loss": Loss(name="cross_entropy", class_weights="none"),
        "schedule": Schedule(name="cosine", floor=row.schedule.floor),
        "train": row.train.model_copy(update={"epochs": epochs, "freeze": epochs, "sampler": "weighted"}),
    }
    second = _run_epochs(row.model_copy(update=changes), train, validation, checkpoint, on_epoch, first)
    second.progress.history[:0] = first.progress.history
    return second


def _run_epochs(
    row: Training, train: Part, validation: Part, path: Path, on_epoch: OnEpoch, first: Fitted | None = None
) -> Fitted:
    """Run the epochs that are left. A retraining takes the backbone of the `first` training and continues its count."""
    backbone, before = (first.model.backbone, len(first.progress.history)) if first else (None, 0)
    trainer, checkpoint, settings = Trainer(row, train, backbone), Checkpoint(path), row.train
    progress = Progress(best_epoch=before)
    if state := checkpoint.load():
        progress = trainer.restore(state)
        for values in progress.history:
            on_epoch(dict(zip(HISTORY, values, strict=True)))
        tqdm.write(f"resuming after epoch {before + len(progress.history)}")
    images, done = drop_last(len(train.targets), settings.batch_size), len(progress.history)
    with Bar("images", settings.epochs * images, initial=done * images, unit="img", unit_scale=True) as bar:
        selects = settings.patience > 0
        while done < settings.epochs and (not selects or before + done - progress.best_epoch < settings.patience):
            started = time.perf_counter()
            rates, train_loss, train_f1 = trainer.epoch(done, bar)
            speed = images / (time.perf_counter() - started)
            val_loss, val_f1 = trainer.evaluate(validation)
            done += 1
            progress.history.append([before + done, *rates, train_loss, train_f1, val_loss, val_f1])
            if val_f1 > progress.best_f1 or not selects:
                progress.best_f1, progress.best_epoch = val_f1, before + done
                progress.best_weights = {k: t.cpu().clone() for k, t in trainer.model.state_dict().items()}
            checkpoint.save(trainer, progress)
            on_epoch(dict(zip(HISTORY, progress.history[-1], strict=True)))
            tqdm.write(
                f"epoch {before + done:>3}/{before + settings.epochs}  loss {train_loss:.4f}  val loss {val_loss:.4f}  "
                f"val F1 {val_f1:.4f}  best {progress.best_f1:.4f} ({progress.best_epoch})  {speed:,.0f} images/s"
            )
    checkpoint.save(trainer, progress, last=True)
    trainer.model.load_state_dict(progress.best_weights)
    return Fitted(trainer.model.cpu().eval(), trainer.normalisation, progress)


class Trainer:
    """A model, its optimiser and everything else that an epoch changes."""

    def __init__(self, row: Training, train: Part, backbone: nn.Module | None = None):
        self.row, self.train, self.device = row, train, train.pixels.device
        torch.manual_seed(row.seed)
        model, self.normalisation = build(row.model, train.pixels.size)
        check_size(model, row.model.name, train.pixels.size)
        if backbone:
            model.backbone.load_state_dict(backbone.state_dict())
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.augmented = Prepare(self.normalisation, row.augment).to(self.device)
        self.plain = Prepare(self.normalisation)
        self.mixing, self.loss = mixing(row.mix), partial(LOSSES[row.loss.name], row.loss)
        self.targets = train.targets.to(self.device)
        counts = np.bincount(train.targets.numpy(), minlength=len(CLASSES))
        self.counts = torch.from_numpy(counts)
        self.weights = torch.from_numpy(CLASS_WEIGHTS[row.loss.class_weights](counts)).float().to(self.device)
        self.begin(frozen=row.train.freeze > 0)

    def begin(self, frozen: bool) -> None:
        """Start a phase with a new optimiser, in which the backbone is frozen or not (report §7.7.3)."""
        self.frozen = frozen
        self.model.backbone.requires_grad_(not frozen)
        self.optimiser = torch.optim.AdamW(parameter_groups(self.model, self.row.optim), fused=True)
        self.network = torch.compile(self.model) if self.row.train.compile else self.model

    def restore(self, state: dict[str, Any]) -> Progress:
        """Return to a state that `Checkpoint.save` wrote."""
        progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.begin(frozen=len(progress.history) <= self.row.train.freeze)  # the phase of the last epoch
        self.optimiser.load_state_dict(state["optimiser"])
        return progress

    def epoch(self, number: int, bar: tqdm) -> tuple[tuple[float, float], float, float]:
        """Run an epoch (from 0) and return the learning rates of backbone and head, the mean loss and the macro F1."""
        row = self.row
        if number == row.train.freeze and self.frozen:
            self.begin(frozen=False)
        scale, head_scale = factors(row.schedule, number, row.train.epochs, row.train.freeze)
        rates = (scale * row.optim.lr_backbone, head_scale * row.optim.lr_head)
        for group in self.optimiser.param_groups:
            group["lr"] = rates[group["part"]]
        torch.manual_seed(derive_seed(row.seed, number, 0))  # of augmentation, mixing and dropout
        order = torch.Generator().manual_seed(derive_seed(row.seed, number, "order"))
        batches = sample(row.train.sampler, self.train.targets, self.counts, row.train.batch_size, order)

        self.model.train()
        self.model.backbone.train(not self.frozen)  # a frozen one keeps the statistics of its batch norms
        losses, predicted, drawn = [], [], []
        for prepared, index in self.prepared(batches):
            images, targets = self.mixing(prepared, self.targets[index])
            loss, logits = self.step(images, targets)
            losses.append(loss)  # read after the epoch: reading it in every step would wait for the GPU
            predicted.append(logits.argmax(1))
            drawn.append(targets.argmax(1))
            bar.update(row.train.batch_size)
        losses = torch.stack(losses).cpu()
        if not losses.isfinite().all():
            step = int((~losses.isfinite()).nonzero()[0])
            found = f"the loss is {losses[step]} at learning rates {rates[0]:g} (backbone) and {rates[1]:g} (head)"
            where = f"epoch {number + 1}, step {step + 1}"
            raise TrainError(f"{where}: {found}: lower optim.lr_backbone and optim.lr_head")
        f1 = macro_f1(*(torch.cat(each).cpu().numpy() for each in (drawn, predicted)))
        return rates, losses.mean().item(), f1

    def evaluate(self, part: Part) -> tuple[float, float]:
        """Loss and macro F1 of a part, without augmentation."""
        logits = infer(self.model, self.plain, part.pixels)
        loss = self.loss(logits, one_hot(part.targets), self.weights.cpu())
        return loss.item(), macro_f1(part.targets.numpy(), logits.argmax(1).numpy())

    def prepared(self, batches: tuple[torch.Tensor, ...]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the augmented images and the indices of each batch; several batches are augmented together."""
        group = max(1, min(CHUNK[self.device.type], BATCHES * self.row.train.batch_size) // len(batches[0]))
        chunks = [batches[i : i + group] for i in range(0, len(batches), group)]
        for chunk, pixels in zip(chunks, self.train.pixels.batches(map(torch.cat, chunks)), strict=True):
            images = self.augmented(pixels).split([len(batch) for batch in chunk])
            for prepared, batch in zip(images, chunk, strict=True):
                yield prepared, batch.to(self.device, non_blocking=True)

    def step(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one optimiser step and return the batch's mean loss and logits."""
        with autocast(self.device):
            logits = self.network(images)
        logits = logits.float()
        loss = self.loss(logits, targets, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach(), logits.detach()


class Checkpoint:
    """The latest state in a file, written at the end and as often as takes `CHECKPOINT_FRACTION` of the time."""

    def __init__(self, path: Path):
        self.path, self.cost, self.last = path, 0.0, float("-inf")

    def save(self, trainer: Trainer, progress: Progress, last: bool = False) -> None:
        started = time.perf_counter()
        if not last and started - self.last < self.cost / CHECKPOINT_FRACTION:
            return
        state = {"model": trainer.model.state_dict(), "optimiser": trainer.optimiser.state_dict()}
        with atomic(self.path) as temporary:
            torch.save(state | {"progress": vars(progress)}, temporary)
        self.last = time.perf_counter()
        self.cost = self.last - started

    def load(self) -> dict[str, Any] | None:
        """Return the state; None if there is none or it is damaged, in which case the file is renamed."""
        if not self.path.exists():
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:
                if damaged := archive.testzip():  # PyTorch compares no checksums
                    raise zipfile.BadZipFile(f"checksum of {damaged}")
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except OSError:  # such as no permission: the file may be intact
            raise
        except Exception as error:  # PyTorch raises many kinds
            aside, kind = self.path.replace(self.path.with_suffix(".damaged")), type(error).__name__
            tqdm.write(f"{self.path} is damaged ({kind}), now {aside.name}: training starts from the beginning")
            return None


def parameter_groups(model: Classifier, settings: Optim) -> list[dict[str, Any]]:
    """AdamW's groups: two learning rates (report §7.2.1), and no weight decay on norms, biases and layer scales.

    `part` is 0 for the backbone and 1 for the head. Frozen parameters are in no group.
    """
    groups = []
    for part, (module, rate) in enumerate(((model.backbone, settings.lr_backbone), (model.head, settings.lr_head))):
        for decay, matrices in ((settings.weight_decay, True), (0.0, False)):
            if chosen := [p for p in module.parameters() if p.requires_grad and (p.ndim > 1) is matrices]:
                groups.append({"params": chosen, "lr": rate, "part": part, "weight_decay": decay})
    return groups


def sample(
    name: str, targets: torch.Tensor, counts: torch.Tensor, batch_size: int, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Draw the batches of one epoch as (batch_size,) int64 indices on the CPU.

    `weighted` draws N images with replacement, every class equally often (report §7.2.1); `shuffle` draws each once.
    """
    if name == "weighted":
        weights = 1 / counts.double().clamp(min=1)
        order = torch.multinomial(weights[targets], len(targets), replacement=True, generator=generator)
    else:
        order = torch.randperm(len(targets), generator=generator)
    return order[: drop_last(len(order), batch_size)].split(batch_size)


def drop_last(count: int, batch_size: int) -> int:
    """Images of an epoch: a smaller last batch is left out, because batch norms need more images."""
    return count - count % batch_size or count


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits for a name made of parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
