"""Training speed of the study's networks, compared with two other ways to feed them on the same machine.

    python -m benchmarks.train_throughput                   # the report's sizes, for a GPU
    python -m benchmarks.train_throughput --profile sample  # the sample's, for a CPU

In images/s, for the EfficientNet row and the last ConvNeXt row (`benchmarks.gpu` measures all rows):

- `end to end`: an epoch of `wbc.train.engine`: sampler, augmentation, MixUp and CutMix, optimiser step
- `streaming`: the same with images that are read from the file instead of the GPU's memory (GPU only)
- `step alone`: the same step on one constant batch, the upper bound of any pipeline
- `compiled`: `end to end` with torch.compile
- `inference`: validation
- `DataLoader`: the step fed by PyTorch's DataLoader, from JPEG files of the challenge's size through timm's transforms

Each round measures all of them; ratios are within a round. MFU is the speed of the step's matrix work relative to that
of a large matrix product. Needs neither DVC, data nor weights.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from wbc.core.compute import pin

if __name__ == "__main__":
    pin(os.cpu_count(), "native")  # before NumPy and PyTorch are imported

import cv2
import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from wbc.config.files import read_yaml
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.dataset.pack import resize
from wbc.network.inference import choose_device, infer
from wbc.network.pixels import Part, Pixels
from wbc.synthetic import class_counts, write_dataset
from wbc.train.engine import Trainer, drop_last
from wbc.train.mixing import one_hot

CHALLENGE = 368  # side of the challenge's JPEGs in pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="report", choices=("report", "sample"), help="whose settings to run")
    parser.add_argument("--images", type=int, default=4096, help="images per epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options, device, rows = parser.parse_args(), choose_device(), {}
    settings = resolve(read_yaml("params.yaml") | {"profile": options.profile})
    size = settings["pack"]["size"]
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), {"train": class_counts(512, 1), "test": class_counts(1, 0)}, CHALLENGE, seed=0)
        files = sorted(Path(folder).glob("images/*"))
        packed = np.stack([resize(cv2.imread(str(file)), size) for file in files[:256]])
        for name in ("efficientnet", "final"):
            row = training(settings[f"train/{name}"])
            rows[name] = measure_row(row, packed, options.images, options.rounds, device, files)
    found = vars(options) | {"machine": machine(device), "size": size, "flops": matrix_speed(device), "rows": rows}
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, default=str) + "\n")


def machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "cores": os.cpu_count(), "torch": torch.__version__}


def training(settings: dict[str, Any]) -> Training:
    changes = {"model": {"weights": "none"}, "train": {"freeze": 0}}
    return Training(**settings | {group: settings[group] | values for group, values in changes.items()})


def measure_row(
    row: Training, packed: np.ndarray, images: int, rounds: int, device: torch.device, files: Sequence[Path] = ()
) -> dict[str, Any]:
    """Measure one row on an epoch of repeated (M, H, W, 3) uint8 images, with JPEG `files` also `DataLoader`."""
    gpu, size, batch = device.type == "cuda", packed.shape[1], row.train.batch_size
    index, targets = np.arange(images) % len(packed), torch.arange(images) % 13
    part = Part(index.astype(str), Pixels(packed, index, device, resident=gpu), targets)
    streamed = part._replace(pixels=Pixels(packed, index, device, resident=False))
    trainer, counted = Trainer(row, part), drop_last(images, batch)
    eager, compiled = trainer.model, torch.compile(trainer.model)
    constant = torch.randn(batch, 3, size, size).to(device, memory_format=torch.channels_last)
    constant = [(constant, (torch.arange(batch) % 13).to(device))] * (counted // batch)

    def epoch(images: Part, network: torch.nn.Module) -> None:
        trainer.train, trainer.network = images, network
        trainer.epoch(1, tqdm(disable=True))

    def steps(batches: Iterable) -> None:
        trainer.network = eager.train()
        for pixels, labels in batches:
            pixels = pixels.to(device, memory_format=torch.channels_last, non_blocking=True)
            trainer.step(pixels, one_hot(labels.to(device, non_blocking=True)))

    ways: dict[str, Callable[[], object]] = {
        "end to end": lambda: epoch(part, eager),
        "step alone": lambda: steps(constant),
        "compiled": lambda: epoch(part, compiled),
        "inference": lambda: infer(trainer.model, trainer.plain, part.pixels),
    }
    ways |= {"streaming": lambda: epoch(streamed, eager)} if gpu else {}
    if files:
        loader = jpeg_loader(files, images, size, batch, gpu)
        ways["DataLoader"] = lambda: steps(loader)
    speeds, peaks = {way: [] for way in ways}, {}
    for number in range(rounds + 1):
        for way, call in ways.items():
            seconds = timed(call, device)
            if number:  # the first round is a warm-up
                speeds[way].append((images if way == "inference" else counted) / seconds)
            if gpu:
                resident = part.pixels.images.nbytes if way == "streaming" else 0  # belongs to the other ways
                peaks[way] = torch.cuda.max_memory_allocated(device) - resident
                torch.cuda.reset_peak_memory_stats(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        eager(constant[0][0])
    # Each product has two counterparts in the backward pass, which the counter gets wrong for depthwise convolutions.
    flop = 3 * counter.get_total_flops() / batch
    return {"model": row.model.name, "flop_per_image": flop, "images_per_second": speeds, "peak_bytes": peaks}


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, including what it started on the GPU."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - started


def jpeg_loader(files: Sequence[Path], images: int, size: int, batch: int, pin_memory: bool) -> DataLoader:
    class Jpegs(Dataset):
        transform = create_transform(size, True, auto_augment=None, color_jitter=0.3, vflip=0.5, re_prob=0.25)

        def __len__(self) -> int:
            return images

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            with Image.open(files[index % len(files)]) as image:
                return self.transform(image.convert("RGB")), index % 13

    options = {"num_workers": os.cpu_count(), "persistent_workers": True, "pin_memory": pin_memory}
    return DataLoader(Jpegs(), batch, shuffle=True, drop_last=True, **options)


def matrix_speed(device: torch.device) -> float:
    """FLOP/s of a large square matrix product, in bfloat16 on a GPU and in float32 on a CPU."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 10 * 2 * size**3 / min(timed(lambda: [a @ a for _ in range(10)], device) for _ in range(6))


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def show(found: dict[str, Any]) -> None:
    """Print the figures as Markdown."""
    on = found["machine"]
    print(f"\n{on['device']}, {on['cores']} cores, torch {on['torch']}; {found['size']} px, {found['images']} images,")
    print(f"n = {found['rounds']} rounds; matrix product {found['flops'] / 1e12:.3g} TFLOP/s\n")
    print("| model | | images/s, median (range) | end to end : this | MFU |\n| --- | --- | --- | --- | --- |")
    for row in found["rows"].values():
        for way, values in row["images_per_second"].items():
            ours = row["images_per_second"]["end to end"]
            ratios = spread(np.divide(ours, values), ".2f")
            mfu = "" if way == "inference" else f"{np.median(values) * row['flop_per_image'] / found['flops']:.0%}"
            print(f"| {row['model']} | {way} | {spread(values)} | {ratios} | {mfu} |")


if __name__ == "__main__":
    main()
