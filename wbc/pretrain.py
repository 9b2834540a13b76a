"""First weights of a small network, learned without labels: to see in the pixels what is measured on a cell's mask.

The 89 features of v2 on `polar` masks need no one who knows the classes. A network that tells them from augmented
images has found cell and nucleus, and their size, shape, colour and grain, before it learns its first label.
"""

import math
from collections.abc import Callable

import numpy as np
import timm
import torch
from torch import nn

from wbc.config import Augment, Pretrain
from wbc.core.classes import CLASSES
from wbc.dataset.pack import middle, resize
from wbc.features import feature_set
from wbc.network.prepare import Prepare
from wbc.parallel import parallel_map
from wbc.segment import method
from wbc.synthetic import draw

MASKS, FEATURES = "polar", "v2"
SPREAD = 4.0  # standard deviations beyond which a feature's value says no more
# An image is turned, flipped and moved as in the ladder, but keeps what is measured on it: its size and its colours
KEPT = {"scale": [1.0, 1.0], "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "stain": 0.0, "erase": 0.0}
WARM_UP = 0.05  # share of the steps in which the learning rate rises


def cell(seed: int, index: int, size: int) -> np.ndarray:
    """(size, size, 3) uint8: cell `index` of those drawn to learn from; every class has its turn.

    `write_dataset` seeds its cells without a spawn key, so none of them is ever among these, whatever the seeds.
    """
    spawned = np.random.SeedSequence(seed, spawn_key=(index,))
    return draw(CLASSES[index % len(CLASSES)], size, np.random.default_rng(spawned))[0]


def measured(seed: int, index: int, drawn: int, crop: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A cell as the network gets it, (size, size, 3) uint8, and what is measured on it, (89,) float64."""
    image = cell(seed, index, drawn)
    return resize(middle(image, crop), size), feature_set(FEATURES).extract(image, method(MASKS).segment(image))


def cells(settings: Pretrain) -> tuple[torch.Tensor, torch.Tensor]:
    """All of them, on all cores: (N, H, W, 3) uint8, and (N, 89) float32 features of mean 0 and variance 1."""
    tasks = ((settings.seed, index, settings.drawn, settings.crop, settings.size) for index in range(settings.cells))
    found = list(parallel_map(measured, tasks, settings.cells, "draw"))
    images, features = (np.stack(each) for each in zip(*found, strict=True))
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(images), torch.from_numpy(features.clip(-SPREAD, SPREAD).astype(np.float32))


def pretrain(
    settings: Pretrain, augment: Augment, images: torch.Tensor, features: torch.Tensor, log: Callable[[str], None]
) -> nn.Module:
    """A backbone that tells (N, D) float32 features from augmented (N, H, W, 3) uint8 images through a linear layer.

    The loss is the mean squared error: 1 for who knows nothing.
    """
    torch.manual_seed(settings.seed)
    backbone = timm.create_model(settings.model, num_classes=0).to(memory_format=torch.channels_last).train()
    head = nn.Linear(backbone.head_hidden_size, features.shape[1])
    normalisation = {name: list(backbone.pretrained_cfg[name]) for name in ("mean", "std")}
    prepare = Prepare(normalisation, augment.model_copy(update=KEPT))
    parameters = [*backbone.parameters(), *head.parameters()]
    decayed, free = ([p for p in parameters if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, settings.lr, fused=True)
    steps = math.ceil(len(images) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.lr, settings.epochs * steps, pct_start=WARM_UP, cycle_momentum=False
    )
    for epoch in range(1, settings.epochs + 1):
        losses = []
        for index in torch.randperm(len(images)).split(settings.batch_size):
            loss = nn.functional.mse_loss(head(backbone(prepare(images[index]))), features[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        log(f"epoch {epoch:>3}/{settings.epochs}  loss {np.mean(losses):.4f}")
    return backbone.eval()
