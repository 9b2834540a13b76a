"""Inference: the device, its precision, and what to do when memory runs out."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from wbc.core.errors import UserError
from wbc.core.progress import Bar
from wbc.network.pixels import Pixels

BATCH = 256  # images that are prepared together


class InsufficientMemoryError(UserError):
    """The device has too little memory; the message names the setting to lower."""


def choose_device() -> torch.device:
    """Return the GPU if there is one, else the CPU, and make PyTorch deterministic."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # only useful for debugging
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 on a GPU; float32 on a CPU, where results must not depend on the processor."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Turn every kind of out-of-memory error, of GPU or CPU, into an `InsufficientMemoryError` that says `advice`."""
    try:
        yield
    except RuntimeError as error:  # cuBLAS, cuDNN and the CPU allocator do not raise torch.OutOfMemoryError
        words = ("ALLOC_FAILED", "out of memory", "can't allocate memory")
        if isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words):
            raise InsufficientMemoryError(f"out of memory {advice}") from None
        raise


def infer(model: nn.Module, prepare: nn.Module, pixels: Pixels, forward: Callable | None = None) -> torch.Tensor:
    """(N, C) float32 outputs of a model in evaluation mode for N images, on the CPU.

    The model and `prepare` are moved to the device of the pixels. `forward` computes the outputs; it is the model by
    default. When a GPU runs out of memory, the model takes fewer images at a time: the augmentation stays the same, the
    last bits of the output may change.

    Raises:
        InsufficientMemoryError: memory does not suffice for one image.
    """
    # Weights that were moved within inference mode could never be differentiated, as a heat map needs
    model, prepare = model.to(pixels.device).eval(), prepare.to(pixels.device)
    forward = forward or model
    outputs, at_once = [], BATCH
    with torch.inference_mode(), Bar("inference", len(pixels), leave=False) as bar:
        for batch in pixels.batches(torch.arange(len(pixels)).split(BATCH)):
            with enough_memory(f"at images.size = {pixels.size}: lower it, or free the GPU of other programs"):
                prepared = prepare(batch)  # in float32: bfloat16 coordinates would be off by pixels
                while True:
                    try:
                        with autocast(pixels.device):
                            outputs.append(torch.cat([forward(chunk).float() for chunk in prepared.split(at_once)]))
                        break
                    except torch.OutOfMemoryError:
                        if at_once == 1:
                            raise
                    at_once //= 2  # after `except`, which keeps the failed step's tensors alive
            bar.update(len(batch))
    return torch.cat(outputs).cpu()
