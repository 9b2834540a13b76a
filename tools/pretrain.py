"""Pretrain a small ConvNeXt without labels: it predicts the handcrafted features of synthetic cells from their pixels.

    python -m tools.pretrain  # half an hour on two CPU cores

The 89 features of v2 on `polar` masks need no classes. A network that predicts them from augmented images has learned
to find cell and nucleus, and their size, shape, colour and texture, before it sees its first label.
"""

import math

from wbc.core.compute import pin

if __name__ == "__main__":
    pin(2, "avx2")  # before NumPy and PyTorch are imported

import numpy as np
import timm
import torch
from safetensors.torch import save
from torch import nn

from wbc.config.files import DRAWN_CELLS
from wbc.config.schema import Augment
from wbc.core.classes import CLASSES
from wbc.core.io import atomic
from wbc.core.parallel import parallel_map
from wbc.dataset.pack import centre_crop, resize
from wbc.features import feature_set
from wbc.network.prepare import Prepare
from wbc.segment import method
from wbc.synthetic import draw

SEED = 20240
MODEL = "test_convnext3"  # timm's name; the weights fit the sample's rows
CELLS = 16_000  # of all classes equally
DRAWN = 128  # side of the drawn and measured images in pixels
CROP = 0.75  # central fraction that the network sees, as in the sample
SIZE = 64  # side of the network's images in pixels
EPOCHS = 16
BATCH = 64  # cells per step
LR = 2e-3  # maximum of the one-cycle schedule
WARM_UP = 0.05  # fraction of the steps in which the learning rate rises
WEIGHT_DECAY = 0.05  # decoupled, on weights but not on norms and biases
MASKS, FEATURES = "polar", "v2"
CLIP = 4.0  # standard deviations at which the values of a feature are clipped
# Geometric augmentation only: size and colours, which are measured, stay as they are
AUGMENT = Augment(
    flip=0.5, rotation=180, translate=0.1, scale=[1.0, 1.0], brightness=0.0, contrast=0.0, saturation=0.0,
    stain=0.0, erase=0.0, erase_scale=[0.02, 0.12],
)  # fmt: skip


def draw_cell(index: int, drawn: int) -> np.ndarray:
    """Draw training cell `index` as (drawn, drawn, 3) uint8; the classes take turns.

    The seed has a spawn key and those of `write_dataset` have none, so no cell is ever part of a sample.
    """
    spawned = np.random.SeedSequence(SEED, spawn_key=(index,))
    return draw(CLASSES[index % len(CLASSES)], drawn, np.random.default_rng(spawned))[0]


def measure_cell(index: int, drawn: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the network's (size, size, 3) uint8 image of a cell and its (89,) float64 features."""
    image = draw_cell(index, drawn)
    return resize(centre_crop(image, CROP), size), feature_set(FEATURES).extract(image, method(MASKS).segment(image))


def measure_cells(count: int = CELLS, drawn: int = DRAWN, size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N, H, W, 3) uint8 images and (N, 89) float32 features of mean 0 and variance 1."""
    tasks = ((index, drawn, size) for index in range(count))
    images, features = map(np.stack, zip(*parallel_map(measure_cell, tasks, count, "draw"), strict=True))
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(images), torch.from_numpy(features.clip(-CLIP, CLIP).astype(np.float32))


def pretrain(
    images: torch.Tensor, features: torch.Tensor, epochs: int = EPOCHS, batch_size: int = BATCH
) -> tuple[nn.Module, list[float]]:
    """Train a backbone and a linear layer to predict (N, D) float32 features from (N, H, W, 3) uint8 images.

    Returns:
        The backbone, and the mean squared error of each epoch; the variance of the features is 1.
    """
    torch.manual_seed(SEED)
    backbone = timm.create_model(MODEL, num_classes=0).to(memory_format=torch.channels_last).train()
    head = nn.Linear(backbone.head_hidden_size, features.shape[1])
    prepare = Prepare({name: list(backbone.pretrained_cfg[name]) for name in ("mean", "std")}, AUGMENT)
    parameters = [*backbone.parameters(), *head.parameters()]
    groups = [
        {"params": [p for p in parameters if (p.ndim > 1) is matrices], "weight_decay": decay}
        for matrices, decay in ((True, WEIGHT_DECAY), (False, 0.0))
    ]
    optimiser = torch.optim.AdamW(groups, LR, fused=True)
    steps = epochs * math.ceil(len(images) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, steps, pct_start=WARM_UP, cycle_momentum=False)
    errors = []
    for epoch in range(1, epochs + 1):
        losses = []
        for index in torch.randperm(len(images)).split(batch_size):
            loss = nn.functional.mse_loss(head(backbone(prepare(images[index]))), features[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        errors.append(float(np.mean(losses)))
        print(f"epoch {epoch:>3}/{epochs}  loss {errors[-1]:.4f}")
    return backbone.eval(), errors


def main() -> None:
    torch.use_deterministic_algorithms(True)
    backbone, _ = pretrain(*measure_cells())
    with atomic(DRAWN_CELLS) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}))
    print(f"{MODEL}: {DRAWN_CELLS.stat().st_size / 2**20:.1f} MiB of weights, from {CELLS} cells, in {DRAWN_CELLS}")


if __name__ == "__main__":
    main()
