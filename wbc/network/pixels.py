"""The packed pixels with their targets, by part."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from wbc.config.files import STUDY
from wbc.core.tables import read_external, read_manifest, read_pixels, read_split, targets

STREAMING = "out of memory with all images on the GPU: they are read as they are needed"
SHARE = 0.5  # of the memory a GPU has for this process that images may take; the network needs the rest


class Pixels:
    """N of the packed images, given out as batches on the device that trains.

    Where they fit they are copied to the GPU once. Otherwise, and on a CPU, each batch is read from the memory map
    when it is needed; on a GPU one batch ahead, through pinned memory and beside the computation.

    Args:
        packed: (M, H, W, 3) uint8, usually a memory map.
        rows: (N,) places in it.
        device: the device of the batches.
        resident: whether to copy all of them; measured where not given.
    """

    def __init__(self, packed: np.ndarray, rows: np.ndarray, device: torch.device, resident: bool | None = None):
        self.packed, self.rows, self.device = packed, rows, device
        if resident is None:
            resident = device.type == "cuda" and fits(len(rows) * packed[:1].nbytes, device)
        self.images = None
        if resident:
            try:
                self.images = torch.empty((len(rows), *packed.shape[1:]), dtype=torch.uint8, device=device)
            except torch.OutOfMemoryError:
                print(STREAMING)
                return
            for place, some in zip(self.images.split(1024), torch.arange(len(rows)).split(1024), strict=True):
                place.copy_(self._read(some))  # in parts: host memory stays flat

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.packed.shape[1]

    @property
    def resident(self) -> bool:
        """Whether all images lie in the device's memory."""
        return self.images is not None

    def stream(self) -> None:
        """Give that memory back: from now on each batch is read when it is needed."""
        self.images = None

    def batches(self, order: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """For each (B,) int64 index tensor of `order`, on the CPU, its (B, H, W, 3) uint8 images on the device."""
        if self.resident:
            for index in order:
                yield self.images[index.to(self.device, non_blocking=True)]
        elif self.device.type == "cpu":
            yield from map(self._read, order)
        else:
            yield from self._ahead(order)

    def _read(self, index: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.packed[self.rows[index.numpy()]])

    def _ahead(self, order: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        stream = torch.cuda.Stream(self.device)

        def copy(index: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event]:
            with torch.cuda.stream(stream):
                images = self._read(index).pin_memory().to(self.device, non_blocking=True)
                return images, stream.record_event()

        with ThreadPoolExecutor(1) as reader:
            pending = None
            for index in order:
                following = reader.submit(copy, index)
                if pending is not None:
                    yield self._arrived(*pending.result())
                pending = following
            if pending is not None:
                yield self._arrived(*pending.result())

    def _arrived(self, images: torch.Tensor, event: torch.cuda.Event) -> torch.Tensor:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        images.record_stream(current)  # its memory is not reused before this stream is done with it
        return images


def fits(needed: int, device: torch.device) -> bool:
    """Whether `needed` bytes of images more, with all that the process holds on the GPU, are within `SHARE` of it."""
    memory = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return torch.cuda.memory_allocated(device) + needed <= SHARE * memory


class Part(NamedTuple):
    """N images of one part."""

    ids: np.ndarray  # (N,) str
    pixels: Pixels
    targets: torch.Tensor  # (N,) int64 on the CPU, -1 where unlabelled


def load_part(name: str, repeat: int, validation: float, device: torch.device) -> Part:
    """A repeat's part `train`, `validation` (the share `validation` of each class's training images) or `test`."""
    place = read_split("validation", repeat)
    return load_set(
        STUDY, device, {"train": place >= validation, "validation": place < validation, "test": np.isnan(place)}[name]
    )


def load_set(name: str, device: torch.device, chosen: np.ndarray | slice = slice(None)) -> Part:
    """The images of a set, or those of them that a (N,) bool array chooses."""
    manifest = read_manifest(name) if name == STUDY else read_external(name)
    packed, rows = read_pixels(name), np.arange(len(manifest))[chosen]
    ids = manifest["id"].to_numpy()[chosen]
    return Part(ids, Pixels(packed, rows, device), torch.from_numpy(targets(manifest)[chosen]))
