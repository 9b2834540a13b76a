"""Learn the sample's first ConvNeXt weights from drawn cells without labels, into data/weights (half an hour)."""

import torch
from safetensors.torch import save

from stages import run
from wbc.config import DRAWN_CELLS, load_pretraining
from wbc.io import atomic
from wbc.pretrain import cells, pretrain


def main() -> None:
    settings, augment = load_pretraining("params.yaml")
    torch.use_deterministic_algorithms(True)
    images, features = cells(settings)
    backbone = pretrain(settings, augment, images, features, print)
    with atomic(DRAWN_CELLS) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}))
    print(f"{settings.model}: {DRAWN_CELLS.stat().st_size / 2**20:.1f} MiB of weights, from {len(images)} cells")


if __name__ == "__main__":
    run(main)
