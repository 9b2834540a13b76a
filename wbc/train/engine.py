"""The training loop: resumable at every epoch, and the same bits whether it was interrupted or not."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from wbc.classes import CLASSES
from wbc.config import Optim, Row
from wbc.errors import UserError
from wbc.io import atomic
from wbc.metrics import macro_f1
from wbc.train.augment import Prepare
from wbc.train.inference import autocast, device, infer
from wbc.train.losses import class_weights, loss
from wbc.train.model import Classifier, build
from wbc.train.schedule import factor

HISTORY = ("epoch", "lr_backbone", "lr_head", "train_loss", "train_f1", "val_loss", "val_f1")


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


def fingerprint(*parts: Any) -> str:
    """Short hash of settings (anything JSON can hold) and of the content of files and packages of code (as `Path`)."""
    digest = hashlib.sha256(torch.__version__.encode())
    for part in parts:
        files = sorted(part.rglob("*.py")) if isinstance(part, Path) and part.is_dir() else [part]
        for item in files:
            digest.update(item.read_bytes() if isinstance(item, Path) else json.dumps(item, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def fit(
    row: Row,
    train: tuple[torch.Tensor, torch.Tensor],
    validation: tuple[torch.Tensor, torch.Tensor],
    checkpoint: Path,
    log: Callable[[str], None] = print,
) -> tuple[Classifier, dict[str, list[float]], Progress]:
    """Train a row's classifier and keep the epoch of the best validation macro F1.

    Args:
        row: the row's resolved settings.
        train: (N, H, W, 3) uint8 images and (N,) int64 targets.
        validation: the same, for choosing the epoch.
        checkpoint: where the state after each epoch is kept. If it exists, training goes on from it; its name must
            identify settings, code and data, because nothing else is compared.
        log: takes one line per epoch.

    Returns:
        The classifier with the best epoch's weights, the normalisation of its input, and the history.

    Raises:
        TrainError: a part is empty, or the loss is no longer finite.
        WeightsError: the pretrained weights are out of reach.
    """
    for name, (_, labels) in (("training", train), ("validation", validation)):
        if not len(labels):
            raise TrainError(f"no {name} image: train.validation = {row.train.validation} of so few leaves none")
    where = device()
    torch.manual_seed(row.seed)
    model, normalisation = build(row.model)
    model.to(where, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(parameter_groups(model, row.optim), fused=True)
    augmented, plain = Prepare(normalisation, row.augment).to(where), Prepare(normalisation).to(where)
    counts = np.bincount(train[1].numpy(), minlength=len(CLASSES))
    weights = torch.tensor(class_weights(row.loss.class_weights, counts), dtype=torch.float32, device=where)
    criterion = partial(loss, row.loss, weights=weights)
    train, validation = ([tensor.to(where) for tensor in part] for part in (train, validation))

    progress = Progress()
    if checkpoint.exists():
        progress = _restore(checkpoint, model, optimiser)
        log(f"resuming after epoch {progress.epoch}")

    while not progress.finished(row.train.epochs, row.train.patience):
        started = time.perf_counter()
        scale = factor(row.schedule, progress.epoch, row.train.epochs)
        rates = (scale * row.optim.lr_backbone, scale * row.optim.lr_head)
        for group in optimiser.param_groups:
            group["lr"] = scale * group["initial_lr"]
        order = sample(row.train.sampler, train[1], counts, row.train.batch_size)
        batches = tqdm(order, f"epoch {progress.epoch + 1}", leave=False, disable=None)
        train_loss, train_f1 = _epoch(model, augmented, optimiser, criterion, train, batches)
        if not np.isfinite(train_loss):
            raise TrainError(
                f"epoch {progress.epoch + 1}: the loss is {train_loss} at learning rates "
                f"{rates[0]:g} (backbone) and {rates[1]:g} (head); lower them"
            )
        seen = len(train[1]) / (time.perf_counter() - started)

        logits = infer(model, plain, validation[0])
        val_loss = criterion(logits, validation[1]).item()
        val_f1 = macro_f1(validation[1].cpu().numpy(), logits.argmax(1).cpu().numpy())
        progress.epoch += 1
        progress.history.append([progress.epoch, *rates, train_loss, train_f1, val_loss, val_f1])
        if val_f1 > progress.best_f1:
            progress.best_f1, progress.best_epoch = val_f1, progress.epoch
            progress.best_weights = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
        _save(checkpoint, model, optimiser, progress)
        log(
            f"epoch {progress.epoch:>3}/{row.train.epochs}  loss {train_loss:.4f}  val loss {val_loss:.4f}  "
            f"val F1 {val_f1:.4f}  best {progress.best_f1:.4f} ({progress.best_epoch})  {seen:,.0f} images/s"
        )

    model.load_state_dict(progress.best_weights)
    return model.cpu().eval(), normalisation, progress


def parameter_groups(model: Classifier, settings: Optim) -> list[dict[str, Any]]:
    """AdamW's groups: two learning rates (report §7.2.1), and no decay on norms, biases and layer scales."""
    groups = []
    for module, rate in ((model.backbone, settings.lr_backbone), (model.head, settings.lr_head)):
        parameters = list(module.parameters())
        for decay, chosen in (
            (settings.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            groups.append({"params": chosen, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    return groups


def sample(name: str, targets: torch.Tensor, counts: np.ndarray, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Index batches of one epoch, (batch_size,) int64 each, from PyTorch's global generator.

    `weighted` draws as many images as there are, with replacement, every class equally often (report §7.2.1);
    `shuffle` takes each once. A last, smaller batch is left out: batch norm would see too few images in it.
    """
    if name == "weighted":
        weights = 1 / torch.tensor(counts, dtype=torch.float64).clamp(min=1)
        order = torch.multinomial(weights[targets.cpu()], len(targets), replacement=True)
    else:
        order = torch.randperm(len(targets))
    whole = len(order) - len(order) % batch_size or len(order)
    return order[:whole].to(targets.device).split(batch_size)


def _epoch(
    model: nn.Module,
    prepare: nn.Module,
    optimiser: torch.optim.Optimizer,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    data: Sequence[torch.Tensor],
    batches: Iterable[torch.Tensor],
) -> tuple[float, float]:
    """One pass of optimiser steps over the index batches; the mean loss and the macro F1 of what was drawn."""
    model.train()
    images, targets = data
    losses, predicted, drawn = [], [], []
    for batch in batches:
        with autocast(images.device):
            logits = model(prepare(images[batch])).float()
        value = criterion(logits, targets[batch])
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        losses.append(value.detach())  # read at the end: a look at every step would wait for the GPU
        predicted.append(logits.argmax(1))
        drawn.append(targets[batch])
    f1 = macro_f1(torch.cat(drawn).cpu().numpy(), torch.cat(predicted).cpu().numpy())
    return torch.stack(losses).mean().item(), f1


def _save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "progress": vars(progress),
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all(),
    }
    with atomic(path) as temporary:
        torch.save(state, temporary)


def _restore(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    torch.cuda.set_rng_state_all(state["rng_cuda"])
    return Progress(**state["progress"])
