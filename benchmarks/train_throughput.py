"""Training speed of the study's networks, beside two other ways to feed the same network on the same machine.

    python -m benchmarks.train_throughput --json throughput.json                  # the report's sizes, for a GPU
    python -m benchmarks.train_throughput --profile sample --json throughput.json # the sample's, for a CPU

For the EfficientNet row and the last ConvNeXt row, in images/s:

- `end to end`: an epoch of `wbc.train.engine`: sampler, augmentation, MixUp and CutMix, step
- `step alone`: the same step on one constant batch, which no pipeline can beat
- `DataLoader`: the same step fed by PyTorch's DataLoader, with a worker per core, from JPEG files of the challenge's
  size through timm's training transforms, which is how such a network is usually trained
- `compiled`: `end to end` with torch.compile

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

from wbc.compute import pin
from wbc.config import Row, read_yaml, resolve

ROWS = ("efficientnet", "final")
CHALLENGE = 368  # pixels a side of the challenge's JPEGs
TRAINING_IMAGES = 28901  # of the challenge (report §2.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="report", choices=("report", "sample"), help="whose settings to run")
    parser.add_argument("--images", type=int, default=4096, help="images of an epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of every measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    params = read_yaml("params.yaml") | {"profile": arguments.profile}
    settings = resolve(params)
    pin(settings["compute"]["threads"] if arguments.profile == "sample" else os.cpu_count(), "native")

    from wbc.data.synthetic import write_dataset

    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), train=512, test=1, minimum_train=1, minimum_test=0, size=CHALLENGE, seed=0)
        files = sorted(Path(folder).glob("images/*"))
        results = measure(settings, files, arguments.images, arguments.rounds)
    if arguments.profile == "report":
        results["ladder_minutes"] = ladder_minutes(settings, results["rows"])
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(settings: dict, files: list[Path], images: int, rounds: int) -> dict:
    """Every figure of every row, by round."""
    import torch

    from wbc.train.inference import device

    where = device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else platform.processor() or platform.machine()
    results = {
        "device": name,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "size": settings["images"]["size"],
        "images": images,
        "rounds": rounds,
        "matrix_flops": matrix_speed(where),
        "rows": {},
    }
    for row in ROWS:
        values = settings[row]
        values["model"]["weights"] = "none"
        values["train"]["freeze"] = 0  # measured as it runs for most of the epochs
        results["rows"][row] = measure_row(Row(**values), files, results["size"], images, rounds, where)
    return results


def measure_row(row: Row, files: list[Path], size: int, images: int, rounds: int, where) -> dict:
    """The figures of one row: model, batch size, FLOP per image, seconds of a checkpoint and lists of images/s."""
    import cv2
    import numpy as np
    import torch
    from tqdm import tqdm

    from wbc.data.pack import resize
    from wbc.train.data import Part, Pixels
    from wbc.train.engine import Progress, Saver, Trainer, whole
    from wbc.train.inference import infer
    from wbc.train.mix import one_hot

    few = np.stack([resize(cv2.imread(str(file)), size) for file in files[:256]])
    packed = few[np.arange(images) % len(few)]
    part = Part(np.arange(images).astype(str), Pixels(packed, np.arange(images), where), torch.arange(images) % 13)
    counted = whole(images, row.train.batch_size)
    trainer = Trainer(row, part)
    compiled = Trainer(row.model_copy(update={"train": row.train.model_copy(update={"compile": True})}), part)
    silent = tqdm(disable=True)
    constant = torch.randn(row.train.batch_size, 3, size, size).to(where, memory_format=torch.channels_last)
    targets = one_hot(torch.arange(row.train.batch_size) % 13).to(where)

    def step_alone() -> None:
        for _ in range(counted // row.train.batch_size):
            trainer._step(constant, targets)

    def from_jpegs() -> None:
        for batch, labels in loader:
            trainer._step(
                batch.to(where, memory_format=torch.channels_last, non_blocking=True), one_hot(labels).to(where)
            )

    loader = jpeg_loader(files, images, size, row.train.batch_size, where.type == "cuda")
    ways: dict[str, Callable[[], object]] = {
        "end to end": lambda: trainer.epoch(1, silent),
        "step alone": step_alone,
        "DataLoader": from_jpegs,
        "compiled": lambda: compiled.epoch(1, silent),
        "inference": lambda: infer(trainer.model, trainer.plain, part.pixels),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(rounds + 1):  # the first one warms up
        for way, call in ways.items():
            trainer.model.train()
            seconds = timed(call, where)
            if round_:
                speeds[way].append((images if way == "inference" else counted) / seconds)
    with tempfile.TemporaryDirectory() as folder:
        weights = {name: tensor.cpu().clone() for name, tensor in trainer.model.state_dict().items()}
        saver = Saver(Path(folder) / "checkpoint.pt")
        checkpoint = timed(lambda: saver.save(trainer, Progress(epoch=1, best_weights=weights)), where)
    return {
        "model": row.model.name,
        "batch": row.train.batch_size,
        "flop_per_image": flop(trainer.model, constant) / row.train.batch_size,
        "checkpoint_seconds": checkpoint,
        "images_per_second": speeds,
    }


def timed(call: Callable[[], object], where) -> float:
    """Seconds of a call, what it started on the GPU included."""
    import torch

    synchronise = torch.cuda.synchronize if where.type == "cuda" else lambda: None
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


def matrix_speed(where) -> float:
    """FLOP/s of a large square matrix product, in bfloat16 on a GPU and in float32 on a CPU; the best of five."""
    import torch

    size, kind = (8192, torch.bfloat16) if where.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(size, size, device=where, dtype=kind) for _ in range(2))
    timed(lambda: a @ b, where)
    return 10 * 2 * size**3 / min(timed(lambda: [a @ b for _ in range(10)], where) for _ in range(5))


def ladder_minutes(settings: dict, measured: dict) -> float:
    """Minutes of all rows at the challenge's size and with every epoch run, from the median speeds."""
    minutes = 0.0
    for name in settings["report"]["rows"]:
        train = settings[name]["train"]
        of = measured["efficientnet" if name == "efficientnet" else "final"]["images_per_second"]
        speed, inference = (statistics.median(of[way]) for way in ("end to end", "inference"))
        held_out = train["validation"] * TRAINING_IMAGES
        minutes += train["epochs"] * ((TRAINING_IMAGES - held_out) / speed + held_out / inference) / 60
    return minutes


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
    if minutes := results.get("ladder_minutes"):
        print(f"whole ladder at {TRAINING_IMAGES:,} images, extrapolated: {minutes:,.0f} minutes")


if __name__ == "__main__":
    sys.exit(main())
