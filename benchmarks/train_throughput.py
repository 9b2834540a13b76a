"""Training speed of the study's networks, beside two other ways to feed the same network on the same machine.

    python -m benchmarks.train_throughput --json throughput.json                  # the report's sizes, for a GPU
    python -m benchmarks.train_throughput --profile sample --json throughput.json # the sample's, for a CPU

For the EfficientNet row and the last ConvNeXt row (`benchmarks.gpu` measures all of them), in images/s:

- `end to end`: an epoch of `wbc.train.engine`: sampler, augmentation, MixUp and CutMix, step
- `streaming`: on a GPU, the same with the images read from the file as they are needed, not from its memory
- `step alone`: the same step on one constant batch, which no pipeline can beat
- `DataLoader`: the same step fed by PyTorch's DataLoader, with a worker per core, from JPEG files of the challenge's
  size through timm's training transforms, which is how such a network is usually trained
- `compiled`: `end to end` with torch.compile
- `inference`: validation

Each round measures all of them; the table gives the median and the range over the rounds, ratios are taken within a
round. MFU is the share of a large matrix product's speed, measured here too, that the step's matrix work reaches.

Needs torch, torchvision, timm, scikit-learn, pandas, OpenCV, safetensors, kornia, pydantic, ruamel.yaml and tqdm: no
DVC, no data, no weights.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wbc.config.files import read_yaml
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.compute import pin

ROWS = ("efficientnet", "final")
CHALLENGE = 368  # pixels a side of the challenge's JPEGs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="report", choices=("report", "sample"), help="whose settings to run")
    parser.add_argument("--images", type=int, default=4096, help="images of an epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of every measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    params = read_yaml("params.yaml") | {"profile": arguments.profile}
    settings = resolve(params)
    pin(settings["pack"]["compute"]["threads"] if arguments.profile == "sample" else os.cpu_count(), "native")

    from wbc.synthetic import class_counts, write_dataset

    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), {"train": class_counts(512, 1), "test": class_counts(1, 0)}, CHALLENGE, seed=0)
        files = sorted(Path(folder).glob("images/*"))
        results = measure(settings, files, arguments.images, arguments.rounds)
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(settings: dict, files: list[Path], images: int, rounds: int) -> dict:
    """Every figure of every row, by round."""
    import cv2
    import numpy as np

    from wbc.dataset.pack import resize
    from wbc.network.inference import choose_device

    device, size = choose_device(), settings["pack"]["size"]
    few = np.stack([resize(cv2.imread(str(file)), size) for file in files[:256]])
    results = machine(device) | {
        "size": size,
        "images": images,
        "rounds": rounds,
        "matrix_flops": matrix_speed(device),
        "rows": {},
    }
    for row in ROWS:
        results["rows"][row] = measure_row(measured(settings[f"train/{row}"]), few, images, rounds, device, files)
    return results


def machine(device) -> dict:
    """What was measured on."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "cores": os.cpu_count(), "torch": torch.__version__}


def measured(settings: dict) -> Training:
    """A row as it runs for most of its epochs, from random weights."""
    changes = {"model": {"weights": "none"}, "train": {"freeze": 0}}
    return Training(**settings | {group: settings[group] | values for group, values in changes.items()})


def measure_row(row: Training, few, images: int, rounds: int, device, files: list[Path] | None = None) -> dict:
    """The figures of one row.

    Args:
        row: its settings.
        few: (M, H, W, 3) uint8, of which `images` are made by repetition.
        images: of an epoch.
        rounds: repetitions, after one that warms up.
        device: the device.
        files: JPEGs for `DataLoader`, which is left out without them.

    Returns:
        Model, batch size, FLOP per image, seconds of a checkpoint, and by way the lists of images/s and on a GPU the
        most bytes that its tensors took.
    """
    import numpy as np
    import torch
    from tqdm import tqdm

    from wbc.network.inference import infer
    from wbc.network.pixels import Part, Pixels
    from wbc.train.engine import Progress, Saver, Trainer, drop_last
    from wbc.train.mixing import one_hot

    gpu, size, batch = device.type == "cuda", few.shape[1], row.train.batch_size
    places, targets = np.arange(images) % len(few), torch.arange(images) % 13
    part, streamed = (
        Part(places.astype(str), Pixels(few, places, device, resident=resident), targets) for resident in (gpu, False)
    )
    counted = drop_last(images, batch)
    held = torch.cuda.memory_allocated(device) if gpu else 0  # the images
    trainer = Trainer(row, part)
    compiled = Trainer(row.model_copy(update={"train": row.train.model_copy(update={"compile": True})}), part)
    silent = tqdm(disable=True)
    constant = torch.randn(batch, 3, size, size).to(device, memory_format=torch.channels_last)
    constant_targets = one_hot(torch.arange(batch) % 13).to(device)

    def epoch_of(images: Part) -> None:
        trainer.train = images
        trainer.epoch(1, silent)

    def step_alone() -> None:
        trainer.model.train()
        for _ in range(counted // batch):
            trainer._step(constant, constant_targets)

    def from_jpegs() -> None:
        trainer.model.train()
        for pixels, labels in loader:
            trainer._step(
                pixels.to(device, memory_format=torch.channels_last, non_blocking=True), one_hot(labels).to(device)
            )

    ways: dict[str, Callable[[], object]] = {
        "end to end": lambda: epoch_of(part),
        "step alone": step_alone,
        "compiled": lambda: compiled.epoch(1, silent),
        "inference": lambda: infer(trainer.model, trainer.plain, part.pixels),
    }
    if gpu:
        ways["streaming"] = lambda: epoch_of(streamed)
    if files:
        loader = jpeg_loader(files, images, size, batch, gpu)
        ways["DataLoader"] = from_jpegs
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    peaks = {}
    for round_ in range(rounds + 1):
        for way, call in ways.items():
            if gpu:
                before = torch.cuda.memory_allocated(device)
                torch.cuda.reset_peak_memory_stats(device)
            seconds = timed(call, device)
            if round_:  # the first one warms up
                speeds[way].append((images if way == "inference" else counted) / seconds)
            if gpu:
                # without what the other ways hold
                own = state_bytes(compiled if way == "compiled" else trainer) + held * (way != "streaming")
                peaks[way] = own + torch.cuda.max_memory_allocated(device) - before
    with tempfile.TemporaryDirectory() as folder:
        weights = {name: tensor.cpu().clone() for name, tensor in trainer.model.state_dict().items()}
        saver = Saver(Path(folder) / "checkpoint.pt")
        checkpoint = timed(lambda: saver.save(trainer, Progress(epoch=1, best_weights=weights)), device)
    return {
        "model": row.model.name,
        "batch": batch,
        "flop_per_image": flop(trainer.model, constant) / batch,
        "checkpoint_seconds": checkpoint,
        "images_per_second": speeds,
        "peak_bytes": peaks,
    }


def state_bytes(trainer) -> int:
    """Bytes of a trainer's weights, gradients and optimiser."""
    model, states = trainer.model, trainer.optimiser.state.values()
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    return sum(tensor.nbytes for tensor in [*tensors, *(value for state in states for value in state.values())])


def timed(call: Callable[[], object], device) -> float:
    """Seconds of a call, what it started on the GPU included."""
    import torch

    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronise()
    started = time.perf_counter()
    call()
    synchronise()
    return time.perf_counter() - started


def jpeg_loader(files: list[Path], images: int, size: int, batch: int, pin_memory: bool):
    """Batches of timm's augmented JPEGs, decoded by a worker per core."""
    from PIL import Image
    from timm.data import create_transform
    from torch.utils.data import DataLoader, Dataset

    class Jpegs(Dataset):
        transform = create_transform(
            size, is_training=True, auto_augment=None, color_jitter=0.3, vflip=0.5, re_prob=0.25
        )

        def __len__(self) -> int:
            return images

        def __getitem__(self, index: int):
            with Image.open(files[index % len(files)]) as image:
                return self.transform(image.convert("RGB")), index % 13

    return DataLoader(
        Jpegs(), batch, shuffle=True, drop_last=True, num_workers=os.cpu_count(), pin_memory=pin_memory,
        persistent_workers=True,
    )  # fmt: skip


def flop(model, images) -> float:
    """Multiplications and additions of the convolutions and matrix products of one step.

    Three times the forward pass's, since each has two counterparts in the backward pass, whose own count PyTorch's
    counter gets wrong for depthwise convolutions.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return 3 * counter.get_total_flops()


def matrix_speed(device) -> float:
    """FLOP/s of a large square matrix product, in bfloat16 on a GPU and in float32 on a CPU; the best of five."""
    import torch

    size, kind = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    timed(lambda: a @ b, device)
    return 10 * 2 * size**3 / min(timed(lambda: [a @ b for _ in range(10)], device) for _ in range(5))


def show(results: dict) -> None:
    """Print the figures as Markdown."""
    print(f"\n{results['device']}, {results['cores']} cores, torch {results['torch']}; {results['size']} px,", end=" ")
    print(f"{results['images']} images, n = {results['rounds']} rounds; matrix product", end=" ")
    print(f"{results['matrix_flops'] / 1e12:.3g} TFLOP/s\n")
    print("| model | | images/s, median (range) | end to end is, of it | MFU |\n| --- | --- | --- | --- | --- |")
    for row in results["rows"].values():
        speeds = row["images_per_second"]
        for way, values in speeds.items():
            ratios = [ours / other for ours, other in zip(speeds["end to end"], values, strict=True)]
            median = statistics.median(values)
            mfu = f"{median * row['flop_per_image'] / results['matrix_flops']:.0%}" if way != "inference" else ""
            print(
                f"| {row['model']} | {way} | {median:,.0f} ({min(values):,.0f}–{max(values):,.0f}) "
                f"| {statistics.median(ratios):.2f}× ({min(ratios):.2f}–{max(ratios):.2f}) | {mfu} |"
            )
    print()
    for row in results["rows"].values():
        epoch = results["images"] / statistics.median(row["images_per_second"]["end to end"])
        print(f"checkpoint of {row['model']}: {row['checkpoint_seconds']:.3f} s, an epoch here {epoch:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
