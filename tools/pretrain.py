"""First weights of a small network, learned without labels: to see in the pixels what is measured on a cell's mask.

    python -m tools.pretrain  # half an hour on two CPU cores

The 89 features of v2 on `polar` masks need no one who knows the classes. A network that predicts them from augmented
images has found cell and nucleus, and their size, shape, colour and grain, before it learns its first label.
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
MODEL = "test_convnext3"  # of timm's small ones; the weights of another do not fit the sample's rows
CELLS = 16_000  # of every class alike
DRAWN = 128  # pixels a side when they are drawn and measured
CROP = 0.75  # middle share of them that the network sees, as in the sample
SIZE = 64  # pixels a side when it does
EPOCHS = 16
BATCH = 64  # cells per step
LR = 2e-3  # highest learning rate, of one cycle
WARM_UP = 0.05  # share of the steps in which the learning rate rises
WEIGHT_DECAY = 0.05  # decoupled, on weights but not on norms and biases
MASKS, FEATURES = "polar", "v2"
SPREAD = 4.0  # standard deviations at which a feature's values are cut off
# An image is turned, flipped and moved as in the ladder, but keeps what is measured on it: its size and its colours
AUGMENT = Augment(
    flip=0.5, rotation=180, translate=0.1, scale=[1.0, 1.0], brightness=0.0, contrast=0.0, saturation=0.0,
    stain=0.0, erase=0.0, erase_scale=[0.02, 0.12],
)  # fmt: skip


def cell(index: int, drawn: int) -> np.ndarray:
    """(drawn, drawn, 3) uint8: cell `index` of those to learn from; every class has its turn.

    `write_dataset` seeds its cells without a spawn key, so none of them is ever among these, whatever the seeds.
    """
    spawned = np.random.SeedSequence(SEED, spawn_key=(index,))
    return draw(CLASSES[index % len(CLASSES)], drawn, np.random.default_rng(spawned))[0]


def measured(index: int, drawn: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A cell as the network gets it, (size, size, 3) uint8, and what is measured on it, (89,) float64."""
    image = cell(index, drawn)
    return resize(centre_crop(image, CROP), size), feature_set(FEATURES).extract(image, method(MASKS).segment(image))


def cells(count: int = CELLS, drawn: int = DRAWN, size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """All of them, on all cores: (N, H, W, 3) uint8, and (N, 89) float32 features of mean 0 and variance 1."""
    tasks = ((index, drawn, size) for index in range(count))
    found = list(parallel_map(measured, tasks, count, "draw"))
    images, features = (np.stack(each) for each in zip(*found, strict=True))
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(images), torch.from_numpy(features.clip(-SPREAD, SPREAD).astype(np.float32))


def pretrain(
    images: torch.Tensor, features: torch.Tensor, epochs: int = EPOCHS, batch_size: int = BATCH
) -> tuple[nn.Module, list[float]]:
    """A backbone that predicts (N, D) float32 features from augmented (N, H, W, 3) uint8 images by a linear layer.

    Returns:
        The backbone, and by epoch the mean squared error, 1 for a network that knows nothing.
    """
    torch.manual_seed(SEED)
    backbone = timm.create_model(MODEL, num_classes=0).to(memory_format=torch.channels_last).train()
    head = nn.Linear(backbone.head_hidden_size, features.shape[1])
    prepare = Prepare({name: list(backbone.pretrained_cfg[name]) for name in ("mean", "std")}, AUGMENT)
    parameters = [*backbone.parameters(), *head.parameters()]
    decayed, free = ([p for p in parameters if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, LR, fused=True)
    steps = math.ceil(len(images) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LR, epochs * steps, pct_start=WARM_UP, cycle_momentum=False
    )
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
    backbone, _ = pretrain(*cells())
    with atomic(DRAWN_CELLS) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}))
    print(f"{MODEL}: {DRAWN_CELLS.stat().st_size / 2**20:.1f} MiB of weights, from {CELLS} cells, in {DRAWN_CELLS}")


if __name__ == "__main__":
    main()
