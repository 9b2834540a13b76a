"""Running a network: where, how precisely, and without training it."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from wbc.core.errors import UserError
from wbc.core.progress import Bar
from wbc.network.pixels import Pixels

BATCH = 256  # images at a time


class InsufficientMemoryError(UserError):
    """The device's memory does not suffice; the message is one line saying what to lower."""


def choose_device() -> torch.device:
    """The GPU if there is one, else the CPU, set up so that the same input gives the same output."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS may not be deterministic
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # it only finds code that reads such memory
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 on a GPU; full precision on a CPU, whose results must not depend on its make."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Say `advice` where memory runs out, the GPU's or the CPU's.

    Raises:
        InsufficientMemoryError: memory ran out.
    """
    try:
        yield
    except RuntimeError as error:  # PyTorch's own kind is one too; cuBLAS, cuDNN and the CPU have none
        words = ("ALLOC_FAILED", "out of memory", "can't allocate memory")
        if isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words):
            raise InsufficientMemoryError(f"out of memory {advice}") from None
        raise


@torch.inference_mode()
def infer(model: nn.Module, prepare: nn.Module, pixels: Pixels) -> torch.Tensor:
    """(N, C) float32 output of `model` in evaluation mode for the N images, on the CPU.

    Where a GPU's memory is short, the model sees fewer images at a time: their augmentation stays the same, the last
    bits of the output may not.

    Raises:
        InsufficientMemoryError: not even for one image is there enough.
    """
    model.eval()
    outputs, at_once = [], BATCH
    with Bar("inference", len(pixels), leave=False) as bar:
        for batch in pixels.batches(torch.arange(len(pixels)).split(BATCH)):
            with enough_memory(f"at images.size = {pixels.size}: lower it, or free the GPU of other programs"):
                prepared = prepare(batch)  # in full precision: coordinates in bfloat16 would be off by pixels
                while True:
                    try:
                        with autocast(pixels.device):
                            outputs.append(torch.cat([model(some).float() for some in prepared.split(at_once)]))
                        break
                    except torch.OutOfMemoryError:
                        if at_once == 1:
                            raise
                    at_once //= 2
            bar.update(len(batch))
    return torch.cat(outputs).cpu()
