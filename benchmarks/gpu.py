"""Acceptance checks and measurements that need a GPU.

    python -m benchmarks.gpu --json gpu.json                      # everything
    python -m benchmarks.gpu --json gpu.json --only bytes resume  # some checks; the file keeps the others

At the report's settings (`profile: report`, 224 px), with random weights, on drawn cells:

- `determinism`: the cost of deterministic algorithms (cuDNN's 7×7 depthwise convolutions in ConvNeXt)
- `bytes`: a training twice, with streamed images, and compiled: the same bytes
- `resume`: killed by SIGKILL and resumed: the same bytes
- `precision`: bfloat16 and float32, in training and prediction
- `draws`: augmentation on the GPU and on the CPU
- `memory`: too little for images and training: images are streamed; too little for the training: one line
- `classify`: `python -m wbc classify --tta --explain`, and the exported ONNX file, on the GPU and on the CPU
- `row-<name>`: images/s and memory of each row of the ladder, from which the whole ladder is extrapolated

Needs neither DVC, data, weights nor internet.
"""

import argparse
import functools
import hashlib
import io
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import torch

from benchmarks.train_throughput import machine, measure_row, spread, timed, training
from wbc.config.files import read_yaml
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.classes import CLASSES, TABLE_1
from wbc.dataset.images import write_jpeg
from wbc.network.inference import InsufficientMemoryError, choose_device
from wbc.network.model import Network, load_model, save_model
from wbc.network.pixels import Part, Pixels
from wbc.network.prepare import Prepare
from wbc.network.reference import fit_reference
from wbc.synthetic import draw
from wbc.train import engine
from wbc.train.engine import HISTORY, STREAMING, Trainer, fit
from wbc.train.mixing import one_hot

ROOT = Path(__file__).parent.parent
SPEED, FRACTION, MINUTES = 4000, 0.95, 60  # goals on one H200: images/s, of the step alone, whole ladder
NO_GPU = "needs a GPU: none here"


class Line(NamedTuple):
    what: str
    found: str
    goal: str = ""
    ok: bool | None = None  # None without a goal


@dataclass
class Bench:  # the tests on a CPU use a smaller one
    device: torch.device
    folder: Path
    model: str = ""  # replaces the rows' own
    size: int = 224
    batch_size: int = 64
    few: int = 416  # different images
    images: int = 4096  # per measured epoch
    rounds: int = 5
    figures: dict[str, Any] = field(default_factory=dict)  # by row, from `measure_row`

    @functools.cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Settings of every row, with random weights."""
        resolved = resolve(read_yaml(ROOT / "params.yaml") | {"profile": "report"})
        rows = {name: resolved[f"train/{name}"] for name in resolved["report"]["networks"]}
        for row in rows.values():
            row["model"] |= {"weights": "none"} | ({"name": self.model} if self.model else {})
            row["train"] |= {"batch_size": self.batch_size}
        return rows

    def row(self, epochs: int = 3, **changes: dict[str, Any]) -> Training:
        """The report's last row, shortened, with a frozen first epoch."""
        values = self.rows["final"]
        changes["train"] = {"epochs": epochs, "patience": epochs, "freeze": 1} | changes.get("train", {})
        return Training(**values | {group: values[group] | keys for group, keys in changes.items()})

    @functools.cached_property
    def packed(self) -> np.ndarray:
        """(few, size, size, 3) uint8 memory map of cells of all classes in turn."""
        path = self.folder / "images.npy"
        if not path.exists():
            np.save(path, np.stack([cell(CLASSES[i % 13], self.size, i) for i in range(self.few)]))
        return np.load(path, mmap_mode="r")

    def part(self, resident: bool | None = None, images: int = 0) -> Part:
        """`images` of them, by default each once."""
        index = np.arange(images or self.few) % self.few
        pixels = Pixels(self.packed, index, self.device, resident)
        return Part(index.astype(str), pixels, torch.from_numpy(index % len(CLASSES)))


class Result(NamedTuple):
    digest: str  # of weights and history
    network: Network
    history: np.ndarray
    printed: str


def cell(label: str, size: int, seed: int) -> np.ndarray:
    return draw(label, size, np.random.default_rng(seed))[0]


def train(bench: Bench, row: Training, part: Part | None = None, folder: Path | None = None) -> Result:
    with tempfile.TemporaryDirectory() as temporary, redirect_stdout(io.StringIO()) as printed:
        checkpoint = Path(folder or temporary) / "checkpoint.pt"
        model, normalisation, progress = fit(row, part or bench.part(), bench.part(), checkpoint)
    digest = hashlib.sha256(repr(progress.history).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    reference = fit_reference(model.backbone, normalisation, bench.part(), bench.part())
    network = Network(model, row.model_dump(exclude_none=True), normalisation, bench.size, reference)
    return Result(digest.hexdigest()[:16], network, np.array(progress.history), printed.getvalue())


def same(what: str, one: str, other: str) -> Line:
    return Line(what, "the same bytes" if one == other else f"{one} ≠ {other}", "", one == other)


def close(what: str, a: torch.Tensor, b: torch.Tensor) -> Line:
    apart, labels = (a - b).abs().max().item(), (a.argmax(1) == b.argmax(1)).float().mean().item()
    return Line(what, f"{labels:.1%} of labels the same, probabilities {apart:.4f} apart", "≤ 0.02", apart <= 0.02)


def determinism(bench: Bench) -> Iterator[Line]:
    trainer = Trainer(bench.row(), bench.part(resident=False))
    trainer.begin(frozen=False)
    images = torch.randn(bench.batch_size, 3, bench.size, bench.size, device=bench.device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets, seconds = one_hot(torch.arange(bench.batch_size) % 13).to(bench.device), {}
    for on in (True, False):
        torch.use_deterministic_algorithms(on)
        torch.backends.cudnn.benchmark = not on
        times = [timed(lambda: trainer.step(images, targets), bench.device) for _ in range(8 * bench.rounds + 1)]
        seconds[on] = statistics.median(times[1:])  # the first one is a warm-up
    choose_device()
    ratio, speed = seconds[False] / seconds[True], bench.batch_size / seconds[True]
    yield Line("a deterministic step", f"{speed:,.0f} images/s, {ratio:.0%}", f"≥ {FRACTION:.0%}", ratio >= FRACTION)


def bytes_(bench: Bench) -> Iterator[Line]:
    row, compiled = bench.row(), bench.row(train={"compile": True})
    first, again, streamed = (train(bench, row, bench.part(resident)).digest for resident in (True, True, False))
    yield same("trained twice", first, again)
    yield same("resident and streamed images", first, streamed)
    yield same("compiled, trained twice", *(train(bench, compiled).digest for _ in range(2)))


def train_in(folder: Path, bench: Bench, row: Training) -> None:
    """Train in a process of its own, with a checkpoint after every epoch."""
    choose_device()
    with mock.patch.object(engine, "CHECKPOINT_FRACTION", math.inf):
        (folder / "digest").write_text(train(bench, row, folder=folder).digest)


def resume(bench: Bench) -> Iterator[Line]:
    row, spawn = bench.row(epochs=12), multiprocessing.get_context("spawn")
    undisturbed, bench = train(bench, row).digest, replace(bench)  # the copy has no memory map to send
    with tempfile.TemporaryDirectory() as folder:
        killed, resumed = (spawn.Process(target=train_in, args=(Path(folder), bench, row)) for _ in range(2))
        killed.start()
        while not (Path(folder) / "checkpoint.pt").exists() and killed.is_alive():
            time.sleep(0.01)
        killed.kill()
        killed.join()
        yield Line("killed after its first checkpoint", f"exit status {killed.exitcode}", "-9", killed.exitcode == -9)
        resumed.start()
        resumed.join()
        yield same("killed and resumed", undisturbed, (Path(folder) / "digest").read_text())


def precision(bench: Bench) -> Iterator[Line]:
    row, part = bench.row(), bench.part()
    half = train(bench, row)
    rounded = half.network.probabilities(part.pixels)
    exact = [mock.patch(f"wbc.{module}.autocast", nullcontext) for module in ("train.engine", "network.inference")]
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), exact[0], exact[1]:
        full = train(bench, row)
        yield close("predicted in bfloat16 and in float32", rounded, half.network.probabilities(part.pixels))
    losses = [HISTORY.index(name) for name in ("train/loss", "val/loss")]
    apart = float(np.abs(half.history[:, losses] / full.history[:, losses] - 1).max())
    yield Line("losses of each epoch, trained in both", f"{apart:.2%} apart at most", "≤ 2%", apart <= 0.02)


def draws(bench: Bench) -> Iterator[Line]:
    pixels, prepared = torch.from_numpy(bench.packed[: bench.batch_size].copy()), []
    for device in (torch.device("cpu"), bench.device):
        prepare = Prepare({"mean": [0.5] * 3, "std": [0.25] * 3}, bench.row().augment).to(device)
        torch.manual_seed(0)
        prepared.append(prepare(pixels.to(device)).cpu())
    apart = (prepared[0] - prepared[1]).abs().max().item()
    yield Line("augmented on the GPU and on the CPU", f"{apart:.1e} apart, of values to 2", "≤ 0.01", apart <= 0.01)


def memory(bench: Bench) -> Iterator[Line]:
    # The images need as much memory as the training: half as much again does not suffice for both.
    row, images = bench.row(train={"batch_size": max(1, bench.batch_size // 4), "epochs": 1, "freeze": 0}), bench.few
    with limited(bench, math.inf):
        train(bench, row, bench.part(resident=False))
    needed = torch.cuda.max_memory_reserved() if bench.device.type == "cuda" else 0
    images = max(images, needed // bench.packed[:1].nbytes)
    streamed, part = train(bench, row, bench.part(False, images)).digest, bench.part(True, images)
    with limited(bench, 1.5 * needed):
        fallen_back = train(bench, row, part)
    said = STREAMING in fallen_back.printed
    yield Line(f"out of memory with {images:,} images on the GPU", "streams them" if said else "does not", "", said)
    yield same("its result, and that of a training that streamed from the start", streamed, fallen_back.digest)
    del part
    message = "trains"
    with limited(bench, needed / 4, streaming=True):
        try:
            train(bench, row, bench.part(resident=False))
        except InsufficientMemoryError as error:
            message = str(error)
    yield Line("too little for the training alone", message, "one line", "train.batch_size" in message)


@contextmanager
def limited(bench: Bench, memory: float, streaming: bool = False) -> Iterator[None]:
    """Limit the GPU's memory in bytes; on a CPU, steps fail with resident images or, for `streaming`, always."""
    step = Trainer.step

    def failing(trainer: Trainer, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if streaming or trainer.train.pixels.images is not None:
            raise torch.OutOfMemoryError("as if")
        return step(trainer, *batch)

    if bench.device.type == "cpu":
        with mock.patch.object(Trainer, "step", failing):
            yield
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    total = torch.cuda.get_device_properties(bench.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, memory / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def wbc(*arguments: object, **environment: str) -> None:
    """Run `python -m wbc`, as a user does: with no variable set for cuBLAS."""
    variables = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"} | environment
    command = [sys.executable, "-m", "wbc", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "failed").splitlines()[-1])


def classify(bench: Bench) -> Iterator[Line]:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        model, cells, tables = Path(folder) / "m.safetensors", Path(folder) / "cells", []
        save_model(model, train(bench, bench.row()).network)
        for number, label in enumerate(CLASSES):
            write_jpeg(cells / f"{label}.jpg", cell(label, 368, number))
        for name, hidden in (("gpu", {}), ("cpu", {"CUDA_VISIBLE_DEVICES": ""})):
            out, maps = Path(folder) / f"{name}.csv", Path(folder) / name
            wbc("classify", cells, "--model", model, "--tta", "--explain", maps, "--out", out, **hidden)
            tables.append(pd.read_csv(out))
            count = len(list(maps.glob("*.jpg")))
            yield Line(f"overlays, {name}", str(count), "13", count == len(CLASSES))
        wbc("export", "--model", model)
        session = onnxruntime.InferenceSession(model.with_suffix(".onnx"))
        (exported,) = session.run(None, {"pixels": bench.packed[: bench.batch_size]})
        here = load_model(model).probabilities(bench.part().pixels)[: bench.batch_size]
    one, other = tables
    apart, equal = float((one.probability - other.probability).abs().max()), (one.label == other.label).mean()
    values = f"{equal:.1%} of labels the same, probabilities {apart:.4f} apart"
    yield Line("classify on the GPU and on the CPU", values, "≤ 0.02", apart <= 0.02)
    yield close("ONNX on the CPU and the network here", torch.from_numpy(exported), here)


def throughput(bench: Bench, name: str) -> Iterator[Line]:
    figures = measure_row(training(bench.rows[name]), bench.packed, bench.images, bench.rounds, bench.device)
    bench.figures[name] = figures
    speeds = {way: statistics.median(values) for way, values in figures["images_per_second"].items()}
    speed, fraction = speeds["end to end"], speeds["end to end"] / speeds["step alone"]
    goal = ("", None) if name == "efficientnet" else (f"≥ {SPEED:,}", speed >= SPEED)
    yield Line(f"{name}, end to end", f"{speed:,.0f} images/s", *goal)
    yield Line(f"{name}, end to end : step alone", f"{fraction:.0%}", f"≥ {FRACTION:.0%}", fraction >= FRACTION)


CHECKS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    **{check.__name__.strip("_"): check for check in (determinism, bytes_, resume, precision, draws, memory, classify)},
    **{f"row-{name}": functools.partial(throughput, name=name) for name in read_yaml(ROOT / "params.yaml")["ladder"]},
}


def run(bench: Bench, name: str) -> list[Line]:
    lines = []
    try:
        lines.extend(CHECKS[name](bench))
    except Exception as error:  # the other checks must still run
        lines.append(Line(name, " ".join(repr(error).split())[:300], "", False))
    return lines


def ladder_minutes(bench: Bench, way: str) -> float:
    """Minutes that all epochs of all rows take at the challenge's size, from the median speeds."""
    minutes = 0.0
    for name, row in bench.rows.items():
        speeds, held_out = bench.figures[name]["images_per_second"], row["train"]["validation"]
        seconds = (1 - held_out) / statistics.median(speeds[way]) + held_out / statistics.median(speeds["inference"])
        minutes += row["train"]["epochs"] * sum(TABLE_1.values()) * seconds / 60
    return minutes


def show(bench: Bench, found: dict[str, list[Line]], on: dict[str, Any]) -> None:
    """Print everything that was found as Markdown."""
    lines = [(name, line) for name in CHECKS for line in found.get(name, [])]
    if set(bench.rows) <= set(bench.figures):
        for way in ("end to end", "compiled"):
            minutes, what = ladder_minutes(bench, way), f"the ladder at {sum(TABLE_1.values()):,} images, extrapolated"
            lines.append((way, Line(what, f"{minutes:.0f} minutes", f"< {MINUTES}", minutes < MINUTES)))
    print(f"\n{on['device']}, {on['cores']} cores, torch {on['torch']}, {bench.size} px, n = {bench.rounds} rounds\n")
    print("| check | | found | goal | |\n| --- | --- | --- | --- | --- |")
    for name, (what, value, goal, ok) in lines:
        print(f"| `{name}` | {what} | {value.replace('|', '/')} | {goal} | {'' if ok is None else '✗✓'[ok]} |")
    ways = ("end to end", "streaming", "compiled", "step alone", "inference")
    print(f"\n| images/s, median (range); GB | {' | '.join(ways)} |\n| --- |{' --- |' * len(ways)}")
    for name, row in bench.figures.items():
        speeds = {way: spread(values) for way, values in row["images_per_second"].items()}
        peaks = {way: f"; {peak / 1e9:.1f}" for way, peak in row["peak_bytes"].items()}
        cells = [speeds.get(way, "–") + peaks.get(way, "") for way in ways]
        print(f"| {name}: {row['model']} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CHECKS), choices=CHECKS)
    parser.add_argument("--json", type=Path, help="add what was found to this file, and show all of it")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"skipped {', '.join(options.only)}: {NO_GPU}")
        return
    device, kept = choose_device(), options.json
    on, earlier = machine(device), json.loads(kept.read_text()) if kept and kept.exists() else {}
    if earlier.get("machine", on) != on:
        sys.exit(f"error: {kept} is from another machine: {earlier['machine']}")
    found = {name: [Line(*line) for line in lines] for name, lines in earlier.get("checks", {}).items()}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, Path(folder), figures=earlier.get("figures", {}))
        for name in options.only:
            found[name] = run(bench, name)
            print(f"{name}:", *(f"{line.what}: {line.found}" for line in found[name]), sep="\n  ", flush=True)
            if kept:  # after each check, since the next one may exceed a time limit
                kept.write_text(json.dumps({"machine": on, "checks": found, "figures": bench.figures}, indent=2) + "\n")
        show(bench, found, on)
    if any(line.ok is False for name in options.only if not name.startswith("row-") for line in found[name]):
        sys.exit("error: at least one check failed: see ✗")


if __name__ == "__main__":
    main()
