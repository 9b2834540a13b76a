"""One training in several processes, one per GPU, on one or more machines: PyTorch's DistributedDataParallel.

Every process holds the same model and sees the same order of the same images; of each batch it takes its share, so
that batch size and learning rate mean the same however many there are. Everything here is the identity in a process
that runs alone.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def relaunch(module: str, *arguments: str) -> None:
    """Become torchrun of `python -m module arguments`, one process per GPU or, without any, as many as share the cores.

    torchrun takes its options from the environment too: PET_NNODES, PET_NODE_RANK and PET_RDZV_ENDPOINT set on each
    machine make it one training on several, PET_NPROC_PER_NODE sets the processes on each.
    """
    alone = [] if "PET_NNODES" in os.environ else ["--standalone"]
    processes = torch.cuda.device_count() or max(1, (os.cpu_count() or 1) // torch.get_num_threads())
    os.environ.setdefault("PET_NPROC_PER_NODE", str(processes))
    command = [sys.executable, "-m", "torch.distributed.run", *alone, "-m", module, *arguments]
    sys.stdout.flush()
    os.execv(sys.executable, command)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes for the block, if torchrun started this one."""
    if not launched():
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """0 in the process that writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Number of this process's GPU on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shard(index: torch.Tensor) -> torch.Tensor:
    """Every `world_size`-th of (N,) places, from this process's own."""
    return index[rank() :: world_size()]


def gather(part: torch.Tensor) -> list[torch.Tensor]:
    """Every process's tensor of its own length, on the CPU, in all of them."""
    parts = [part.cpu()]
    if world_size() > 1:
        parts = [None] * world_size()
        dist.all_gather_object(parts, part.cpu())
    return parts


def all_reduce(value: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over the processes."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def broadcast(value: object) -> object:
    """The first process's value, in all of them."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def broadcast_buffers(model: nn.Module) -> None:
    """Give every process the first one's buffers: with gloo, each one's batch norms know its shard of images alone."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with its gradients averaged over the processes."""
    if world_size() == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norm over the whole batch; gloo cannot, so on a CPU it sees its process's shard."""
    return convert_sync_batchnorm(model) if world_size() > 1 and device.type == "cuda" else model
