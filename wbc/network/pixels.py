"""The packed images and their targets, in batches on the device."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch

from wbc.config.files import STUDY
from wbc.core.tables import read_external, read_manifest, read_pixels, read_split, targets

MEMORY_FRACTION = 0.5  # of the GPU memory available to this process that images may take


class Pixels:
    """N of the packed images, in batches on a device.

    `size` is the side that they are scaled down to, by default that of the packed ones.

    Resident images are copied to the device once, by default if they fit into a GPU's memory. Otherwise each batch is
    read when it is needed, and the next one is copied to the GPU while the current one is used. The packed images are
    (M, H, W, 3) uint8, usually a memory map, and `rows` are (N,) int64 indices into them.
    """

    def __init__(
        self, packed: np.ndarray, rows: np.ndarray, device: torch.device, resident: bool | None = None, size: int = 0
    ):
        self.packed, self.rows, self.device = packed, rows, device
        self.size = size or packed.shape[1]  # side of the square images in pixels
        self.images = None  # the resident ones; setting it to None again frees their memory
        if resident is None:
            resident = device.type == "cuda" and fits(len(rows) * self.size**2 * 3, device)
        if resident:
            self.images = torch.empty((len(rows), self.size, self.size, 3), dtype=torch.uint8, device=device)
            for target, index in zip(self.images.split(1024), torch.arange(len(rows)).split(1024), strict=True):
                target.copy_(self._read(index))  # in parts: host memory stays flat

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, order: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """For each (B,) int64 index tensor on the CPU, the (B, H, W, 3) uint8 images on the device."""
        if self.images is not None:
            for index in order:
                yield self.images[index.to(self.device, non_blocking=True)]
        elif self.device.type == "cpu":
            yield from map(self._read, order)
        else:
            yield from self._prefetch(order)

    def _read(self, index: torch.Tensor) -> torch.Tensor:
        images = self.packed[self.rows[index.numpy()]]
        if self.size < self.packed.shape[1]:
            side = (self.size, self.size)
            images = np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images])
        return torch.from_numpy(images)

    def _prefetch(self, order: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        copying = torch.cuda.Stream(self.device)

        def copy(index: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event]:
            with torch.cuda.stream(copying):
                images = self._read(index).pin_memory().to(self.device, non_blocking=True)
                return images, copying.record_event()

        with ThreadPoolExecutor(1) as reader:
            copies = chain((reader.submit(copy, index) for index in order), [None])
            for current, _ in pairwise(copies):  # the next copy is submitted before the current one is used
                images, event = current.result()
                computing = torch.cuda.current_stream(self.device)
                computing.wait_event(event)
                images.record_stream(computing)  # the memory is reused only after this stream has read it
                yield images


def fits(size: int, device: torch.device) -> bool:
    """Whether the process holds at most `MEMORY_FRACTION` of the GPU memory it can have after adding `size` bytes."""
    available = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return torch.cuda.memory_allocated(device) + size <= MEMORY_FRACTION * available


class Part(NamedTuple):
    """N images of one part."""

    ids: np.ndarray  # (N,) str
    pixels: Pixels
    targets: torch.Tensor  # (N,) int64 on the CPU, -1 for an unlabelled image


def load_part(name: str, repeat: int, validation: float, device: torch.device, size: int = 0) -> Part:
    """Load the part `train`, `validation` or `test` of a repeat; `validation` is that part's fraction of each class.

    `size` is that of `Pixels`.
    """
    place = read_split("validation", repeat)  # NaN for test images
    chosen = {"train": place >= validation, "validation": place < validation, "test": np.isnan(place)}
    return load_set(STUDY, device, size, chosen[name])


def load_set(image_set: str, device: torch.device, size: int = 0, chosen: np.ndarray | slice = slice(None)) -> Part:
    """Load an image set, or those of its N images that a (N,) bool array chooses."""
    manifest = read_manifest(image_set) if image_set == STUDY else read_external(image_set)
    rows = np.arange(len(manifest))[chosen]
    pixels = Pixels(read_pixels(image_set), rows, device, size=size)
    return Part(manifest["id"].to_numpy()[rows], pixels, torch.from_numpy(targets(manifest)[rows]))
