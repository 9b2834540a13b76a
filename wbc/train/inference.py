"""Running a network: where, how precisely, and without training it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from wbc.train import distributed
from wbc.train.data import Pixels

BATCH = 256  # images at a time


def device() -> torch.device:
    """This process's GPU if there is one, set up so that the same input gives the same output."""
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    if not torch.cuda.is_available():
        return torch.device("cpu")
    where = torch.device("cuda", distributed.local_rank())
    torch.cuda.set_device(where)
    return where


def autocast(where: torch.device) -> AbstractContextManager:
    """bfloat16 on a GPU; full precision on a CPU, whose results must not depend on its make."""
    return torch.autocast("cuda", torch.bfloat16) if where.type == "cuda" else nullcontext()


@torch.inference_mode()
def infer(model: nn.Module, prepare: nn.Module, pixels: Pixels) -> torch.Tensor:
    """(N, C) float32 output of `model` in evaluation mode for the N images, on the CPU.

    Where several processes train together, each infers its share and all get the whole.
    """
    model.eval()
    outputs = []
    for batch in pixels.batches(distributed.share(torch.arange(len(pixels))).split(BATCH)):
        prepared = prepare(batch)  # in full precision: coordinates in bfloat16 would be off by pixels
        with autocast(pixels.where):
            outputs.append(model(prepared).float())
    parts = distributed.gather(torch.cat(outputs))
    whole = parts[0].new_empty(len(pixels), *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole
