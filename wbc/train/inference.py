"""Running a network: where, how precisely, and without training it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

BATCH = 256  # images at a time


def device() -> torch.device:
    """The GPU if there is one, set up so that the same input gives the same output."""
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(where: torch.device) -> AbstractContextManager:
    """bfloat16 on a GPU; full precision on a CPU, whose results must not depend on its make."""
    return torch.autocast("cuda", torch.bfloat16) if where.type == "cuda" else nullcontext()


@torch.inference_mode()
def infer(model: nn.Module, prepare: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, C) float32 output of `model` in evaluation mode for (N, H, W, 3) uint8 images, on the images' device."""
    model.eval()
    with autocast(images.device):
        return torch.cat([model(prepare(batch)).float() for batch in images.split(BATCH)])
