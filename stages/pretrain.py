"""Learn the sample's first ConvNeXt weights from drawn cells without labels, into data/weights (takes an hour)."""

from pathlib import Path

import torch
from safetensors.torch import save

from stages import run
from wbc.config import load_pretraining
from wbc.io import atomic
from wbc.pretrain import cells, pretrain

WEIGHTS = Path("data/weights/drawn_cells.safetensors")


def main() -> None:
    settings, augment = load_pretraining("params.yaml")
    torch.use_deterministic_algorithms(True)
    images, features = cells(settings)
    backbone = pretrain(settings, augment, images, features, print)
    with atomic(WEIGHTS) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}))
    print(f"{settings.model}: {WEIGHTS.stat().st_size / 2**20:.1f} MiB of weights from {len(images)} unlabelled cells")


if __name__ == "__main__":
    run(main)
