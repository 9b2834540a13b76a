"""The acceptance on a GPU: everything that only a GPU can show, each check a line of a table.

    python -m benchmarks.gpu --json gpu.json                           # all of it
    python -m benchmarks.gpu --json gpu.json --only depthwise bytes    # a slice; the file keeps what others found
    python -m benchmarks.gpu --json gpu.json --only 'row-*'

At the report's settings (`profile: report`, 224 px), from random weights, on drawn cells:

- `depthwise`: what determinism costs in ConvNeXt's 7×7 depthwise convolution, whose weight gradient cuDNN computes,
  and in a whole step
- `bytes`: a training twice, and once with streamed images: the same bytes
- `resume`: killed with SIGKILL and started again: the same bytes
- `precision`: bfloat16 against float32, trained and predicted
- `draws`: augmentation as on the CPU, and how often it waits for the GPU
- `memory`: with too little for images and training, the images are streamed; with too little for both, one line
- `classify`: `python -m wbc classify --tta --explain` as on the CPU
- `onnx`: the exported file as the network
- `torchrun`: one process per GPU, over NCCL
- `row-<name>`: images/s and memory of each row of the ladder; from them the whole ladder is extrapolated

Needs what `benchmarks.train_throughput` needs, for `onnx` also onnxruntime: no DVC, no data, no weights, no internet.
"""

import argparse
import csv
import fnmatch
import functools
import hashlib
import importlib.util
import io
import json
import math
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import nn

from benchmarks.train_throughput import machine, measure_row, measured, timed
from wbc.config.files import read_yaml
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.classes import CLASSES, TABLE_1
from wbc.dataset.images import write_jpeg
from wbc.network import distributed
from wbc.network.inference import InsufficientMemoryError, choose_device
from wbc.network.model import Network, load_model, save_model
from wbc.network.pixels import STREAMING, Part, Pixels
from wbc.network.prepare import Prepare
from wbc.network.reference import fit_reference
from wbc.synthetic import draw
from wbc.train import engine
from wbc.train.engine import Trainer, fit

ROOT = Path(__file__).parent.parent
STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))  # channels and pixels a side of ConvNeXt-Tiny's, at 224 px
SPEED, SHARE, MINUTES = 4000, 0.95, 60  # goals on one H200: images/s, of the step alone, whole ladder
NO_GPU = "needs a GPU: none here"


class Line(NamedTuple):
    """One line of the table; `ok` is None where there is no goal."""

    what: str
    found: str
    goal: str = ""
    ok: bool | None = None


@dataclass
class Bench:
    """What the checks run on; a test of the checks themselves takes less of everything."""

    device: torch.device
    folder: Path
    model: str = ""  # in place of each row's own
    size: int = 224
    batch_size: int = 64
    few: int = 416  # different images
    images: int = 4096  # of a measured epoch
    rounds: int = 5
    figures: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Every row's, from random weights."""
        resolved = resolve(read_yaml(ROOT / "params.yaml") | {"profile": "report"})
        rows = {name: resolved[f"train/{name}"] for name in resolved["report"]["networks"]}
        for row in rows.values():
            row["model"] |= {"weights": "none"} | ({"name": self.model} if self.model else {})
            row["train"] |= {"batch_size": self.batch_size}
        return rows

    def row(self, epochs: int = 3, **changes: dict[str, Any]) -> Training:
        """The ladder's last row, shortened, with a frozen first epoch."""
        values = list(self.settings.values())[-1]
        changes["train"] = {"epochs": epochs, "patience": epochs, "freeze": 1} | changes.get("train", {})
        return Training(**values | {group: values[group] | keys for group, keys in changes.items()})

    @functools.cached_property
    def packed(self) -> np.ndarray:
        """(few, size, size, 3) uint8 cells of all classes in turn, a memory map as in the pipeline."""
        path = self.folder / "images.npy"
        if not path.exists():
            np.save(path, np.stack([draw(CLASSES[i % 13], self.size, rng(i))[0] for i in range(self.few)]))
        return np.load(path, mmap_mode="r")

    def part(self, resident: bool | None = None, images: int = 0) -> Part:
        """`images` of them, or each once."""
        places = np.arange(images or self.few) % self.few
        pixels = Pixels(self.packed, places, self.device, resident)
        return Part(places.astype(str), pixels, torch.from_numpy(places % len(CLASSES)))


class Fitted(NamedTuple):
    digest: str  # of weights and history
    trained: Network
    history: list[list[float]]
    printed: str


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def train(bench: Bench, row: Training, train: Part | None = None, checkpoint: Path | None = None) -> Fitted:
    """`fit`, on each image once if not told otherwise."""
    part, validation = train or bench.part(), bench.part()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as printed:
        path = checkpoint or Path(folder) / "checkpoint.pt"
        model, normalisation, progress = fit(row, part, validation, path)
    digest = hashlib.sha256(repr(progress.history).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    known = fit_reference(model.to(bench.device).backbone, normalisation, validation, validation)
    trained = Network(model, row.model_dump(exclude_none=True), normalisation, bench.size, known)
    return Fitted(digest.hexdigest()[:16], trained, progress.history, printed.getvalue())


def same(what: str, *fitted: Fitted) -> Line:
    digests = [each.digest for each in fitted]
    return Line(what, "the same bytes" if len(set(digests)) == 1 else " ≠ ".join(digests), "", len(set(digests)) == 1)


# --- the checks


def depthwise(bench: Bench) -> Iterator[Line]:
    kinds = {
        "deterministic": (torch.channels_last, True),
        "cuDNN's choice": (torch.channels_last, False),
        "deterministic, channels first": (torch.contiguous_format, True),
    }
    for channels, side in STAGES:
        seconds = {}
        for kind, (memory_format, deterministic) in kinds.items():
            images = torch.randn(bench.batch_size, channels, side, side, device=bench.device, dtype=torch.bfloat16)
            images = images.contiguous(memory_format=memory_format)
            layer = nn.Conv2d(channels, channels, 7, padding=3, groups=channels).to(bench.device, torch.bfloat16)
            with determinism(deterministic):
                output = layer(images)
                gradient = torch.randn_like(output)

                def weight_gradient(layer=layer, output=output, gradient=gradient) -> None:
                    for _ in range(bench.rounds):
                        torch.autograd.grad(output, layer.weight, gradient, retain_graph=True)

                seconds[kind] = median(weight_gradient, bench) / bench.rounds
        found = ", ".join(f"{kind} {1000 * value:.3f} ms" for kind, value in seconds.items())
        yield Line(f"weight gradient of 7×7 depthwise, {channels} channels at {side}²", found)
    trainer = Trainer(bench.row(), bench.part(resident=False))
    trainer.begin(frozen=False)
    images = torch.randn(bench.batch_size, 3, bench.size, bench.size, device=bench.device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.eye(len(CLASSES), device=bench.device)[torch.arange(bench.batch_size) % len(CLASSES)]
    speeds = []
    for deterministic in (True, False):
        with determinism(deterministic):
            seconds = median(lambda: [trainer._step(images, targets) for _ in range(bench.rounds)], bench)
        speeds.append(bench.rounds * bench.batch_size / seconds)
    found = f"{speeds[0]:,.0f} images/s, without {speeds[1]:,.0f}"
    yield Line("a whole step, deterministic", found, "≥ 95%", speeds[0] >= SHARE * speeds[1])


def bytes_(bench: Bench) -> Iterator[Line]:
    row = bench.row()
    resident = train(bench, row, bench.part(resident=True))
    yield same("trained twice", resident, train(bench, row, bench.part(resident=True)))
    yield same("images resident and streamed", resident, train(bench, row, bench.part(resident=False)))
    compiled = bench.row(train={"compile": True})
    yield same("compiled, trained twice", train(bench, compiled), train(bench, compiled))


def resume(bench: Bench) -> Iterator[Line]:
    row = bench.row(epochs=12)
    undisturbed = train(bench, row)
    with tempfile.TemporaryDirectory() as folder:
        killed, checkpoint = start(bench, row, Path(folder)), Path(folder) / "checkpoint.pt"
        while not checkpoint.exists() and killed.poll() is None:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        died = killed.wait() == -signal.SIGKILL
        resumed = finish(start(bench, row, Path(folder)), Path(folder))
    yield Line("killed after its first checkpoint", "yes" if died else "no: it had ended", "yes", died)
    yield same("killed and resumed", undisturbed, resumed)


def precision(bench: Bench) -> Iterator[Line]:
    row, part = bench.row(), bench.part()
    half = train(bench, row)
    rounded = half.trained.probabilities(part.pixels)
    with full_precision():
        full = train(bench, row)
        exact = half.trained.probabilities(part.pixels)
    yield close("predicted in bfloat16 and in float32", rounded, exact, 0.02)
    yield losses("trained in both, the losses of each epoch", half, full)


def draws(bench: Bench) -> Iterator[Line]:
    row, pixels = bench.row(), torch.from_numpy(bench.packed[: bench.batch_size].copy())
    mean_and_std = {"mean": [0.5] * 3, "std": [0.25] * 3}
    prepared = []
    for device in (torch.device("cpu"), bench.device):
        prepare, batch = Prepare(mean_and_std, row.augment).to(device), pixels.to(device)
        torch.manual_seed(0)
        prepared.append(prepare(batch).cpu())
    apart = (prepared[0] - prepared[1]).abs().max().item()
    yield Line("augmented as on the CPU", f"{apart:.1e} apart at most, of values to 2", "≤ 0.01", apart <= 0.01)
    if bench.device.type == "cuda":
        prepare, batch = Prepare(mean_and_std, row.augment).to(bench.device), pixels.to(bench.device)
        prepare(batch)
        with warnings.catch_warnings(record=True) as waits, synchronisations():
            prepare(batch)
        yield Line("times that augmenting a chunk waits for the GPU", str(len(waits)), "≤ 1", len(waits) <= 1)


def memory(bench: Bench) -> Iterator[Line]:
    # Images that need as much as the training: both do not fit into one and a half times as much, either does.
    row, images = bench.row(train={"batch_size": max(1, bench.batch_size // 4), "epochs": 1, "freeze": 0}), bench.few
    free_memory(bench.device)
    train(bench, row, bench.part(resident=False))
    needed = 0
    if bench.device.type == "cuda":
        needed = torch.cuda.max_memory_reserved(bench.device)
        images = max(images, needed // bench.packed[:1].nbytes)
    streamed = train(bench, row, bench.part(resident=False, images=images))
    part = bench.part(resident=True, images=images)
    with limited(bench, 1.5 * needed):
        fallen_back = train(bench, row, part)
    printed = STREAMING in fallen_back.printed
    found = "streams them and says so" if printed else "says nothing"
    yield Line(f"out of memory with {images:,} images on the GPU", found, "", printed)
    yield same("its result, and that of a training that streamed from the start", streamed, fallen_back)
    del part
    message = "trains"
    with limited(bench, needed / 4, streaming=True):
        try:
            train(bench, row, bench.part(resident=False))
        except InsufficientMemoryError as error:
            message = str(error)
    yield Line("too little for the training alone", message, "one line", "train.batch_size" in message)


def classify(bench: Bench) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        model, settings, cells = (Path(folder) / name for name in ("m.safetensors", "m.yaml", "cells"))
        tables = []
        row = bench.row()
        resolved = resolve(read_yaml(ROOT / "params.yaml") | {"profile": "report"})
        settings.write_text(json.dumps(resolved["predict/final"]))
        trained = train(bench, row).trained
        save_model(model, trained._replace(model=trained.model.cpu()))
        for number, label in enumerate(CLASSES):
            write_jpeg(cells / f"{label}.jpg", draw(label, 368, rng(number))[0])
        for name, hidden in (("gpu", {}), ("cpu", {"CUDA_VISIBLE_DEVICES": ""})):
            out, why = Path(folder) / f"{name}.csv", Path(folder) / name
            options = ["--model", model, "--settings", settings, "--tta", "--explain", why, "--out", out]
            if error := wbc("classify", cells, *options, environment=hidden):
                yield Line(f"classify --tta --explain, {name}", error, "", False)
                return
            pictures = len(list(why.glob("*.jpg")))
            yield Line(f"classify --tta --explain, {name}", f"{pictures} overlays", "13", pictures == len(CLASSES))
            tables.append(list(csv.DictReader(out.read_text().splitlines())))
        apart = max(abs(float(a["probability"]) - float(b["probability"])) for a, b in zip(*tables, strict=True))
        labels = sum(a["label"] == b["label"] for a, b in zip(*tables, strict=True))
        found = f"{labels} of {len(CLASSES)} labels the same, probabilities {apart:.3f} apart at most"
        yield Line("classify on the GPU and on the CPU", found, "≤ 0.02", apart <= 0.02)


def onnx(bench: Bench) -> Iterator[Line]:
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)]:
        yield Line("export to ONNX", f"skipped: {', '.join(missing)} not installed")
        return
    import onnxruntime

    trained, part = train(bench, bench.row()).trained, bench.part()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        save_model(model, trained._replace(model=trained.model.cpu()))
        if error := wbc("export", "--model", model):
            yield Line("export to ONNX", error, "", False)
            return
        session = onnxruntime.InferenceSession(model.with_suffix(".onnx"))
        (exported,) = session.run(None, {session.get_inputs()[0].name: bench.packed[: bench.batch_size]})
        here = load_model(model).probabilities(part.pixels)
    yield close("ONNX on the CPU and the network here", torch.from_numpy(exported), here[: bench.batch_size], 0.02)


def torchrun(bench: Bench) -> Iterator[Line]:
    # without what each process draws for itself
    still = dict.fromkeys(("flip", "rotation", "translate", "brightness", "contrast", "saturation", "erase"), 0.0)
    row = bench.row(
        augment=still | {"scale": [1.0, 1.0]},
        mix={"mixup_alpha": 0.0, "cutmix_alpha": 0.0},
        model={"dropout": 0.0},
    )
    alone, processes = train(bench, row), torch.cuda.device_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        together = finish(start(bench, row, Path(folder), launcher), Path(folder))
    backend = "NCCL" if bench.device.type == "cuda" else "gloo"
    yield losses(f"torchrun over {backend}, processes: {processes}; beside one alone", alone, together)


def throughput(bench: Bench, name: str) -> Iterator[Line]:
    figures = measure_row(measured(bench.settings[name]), bench.packed, bench.images, bench.rounds, bench.device)
    bench.figures[name] = figures
    speeds = {way: statistics.median(values) for way, values in figures["images_per_second"].items()}
    share = speeds["end to end"] / speeds["step alone"]
    if name != "efficientnet":
        ok = speeds["end to end"] >= SPEED
        yield Line(f"{name}, end to end", f"{speeds['end to end']:,.0f} images/s", f"≥ {SPEED:,}", ok)
    yield Line(f"{name}, end to end : step alone", f"{share:.0%}", f"≥ {SHARE:.0%}", share >= SHARE)


CHECKS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    "depthwise": depthwise,
    "bytes": bytes_,
    "resume": resume,
    "precision": precision,
    "draws": draws,
    "memory": memory,
    "classify": classify,
    "onnx": onnx,
    "torchrun": torchrun,
}
ROWS = tuple(read_yaml(ROOT / "params.yaml")["ladder"])
CHECKS |= {f"row-{name}": functools.partial(throughput, name=name) for name in ROWS}


# --- their tools


def median(call: Callable[[], object], bench: Bench) -> float:
    """Seconds of a call, of `rounds` after one that warms up."""
    return statistics.median([timed(call, bench.device) for _ in range(bench.rounds + 1)][1:])


def losses(what: str, *fitted: Fitted) -> Line:
    """How near the losses of two trainings are."""
    columns = [engine.HISTORY.index(name) for name in ("train/loss", "val/loss")]
    one, other = (np.array(of.history)[:, columns] for of in fitted)
    apart = float(np.abs(one / other - 1).max())
    return Line(what, f"{apart:.2%} apart at most", "≤ 2%", apart <= 0.02)


def close(what: str, a: torch.Tensor, b: torch.Tensor, bound: float) -> Line:
    """How near two tables of probabilities are."""
    apart, labels = (a - b).abs().max().item(), (a.argmax(1) == b.argmax(1)).float().mean().item()
    found = f"{labels:.1%} of {len(a)} labels the same, probabilities {apart:.4f} apart at most"
    return Line(what, found, f"≤ {bound}", apart <= bound)


@contextmanager
def determinism(on: bool) -> Iterator[None]:
    torch.use_deterministic_algorithms(on)
    torch.backends.cudnn.benchmark = not on
    try:
        yield
    finally:
        choose_device()


@contextmanager
def full_precision() -> Iterator[None]:
    """No bfloat16 and no TF32."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    exact = mock.Mock(side_effect=lambda device: nullcontext())
    try:
        with mock.patch("wbc.train.engine.autocast", exact), mock.patch("wbc.network.inference.autocast", exact):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def synchronisations() -> Iterator[None]:
    """Warn of every wait for the GPU."""
    warnings.simplefilter("always")
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def limited(bench: Bench, memory: float, streaming: bool = False) -> Iterator[None]:
    """No more than `memory` bytes of the GPU; on a CPU, steps fail with resident images or, if so said, always."""
    if bench.device.type == "cuda":
        free_memory(bench.device)
        total = torch.cuda.get_device_properties(bench.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / total), bench.device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
        return
    step = Trainer._step

    def failing(trainer: Trainer, *batch: torch.Tensor):
        if streaming or trainer.train.pixels.resident:
            raise torch.OutOfMemoryError("as if")
        return step(trainer, *batch)

    with mock.patch.object(Trainer, "_step", failing):
        yield


def free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def wbc(*arguments: object, environment: dict[str, str] | None = None) -> str:
    """`python -m wbc` as a person calls it: no variable set beforehand. Its last words if it fails."""
    variables = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"} | (environment or {})
    command = [sys.executable, "-m", "wbc", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    return (ended.stderr.strip() or "failed").splitlines()[-1] if ended.returncode else ""


def start(bench: Bench, row: Training, folder: Path, launcher: list[str] | None = None) -> subprocess.Popen:
    """A process that trains the row with its checkpoint in `folder`."""
    (folder / "task.pkl").write_bytes(pickle.dumps((asdict(bench), row.model_dump(exclude_none=True))))
    command = [sys.executable, *(launcher or []), "-m", "benchmarks.gpu", "--task", str(folder)]
    variables = os.environ | ({} if bench.device.type == "cuda" else {"CUDA_VISIBLE_DEVICES": ""})
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen, folder: Path) -> Fitted:
    """What it trained.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Fitted(*json.loads((folder / "result.json").read_text()))


def task(folder: Path) -> None:
    """The other side of `start`."""
    settings, row = pickle.loads((folder / "task.pkl").read_bytes())
    with distributed.process_group():
        bench = Bench(**settings | {"device": choose_device()})
        with mock.patch.object(engine, "CHECKPOINT_SHARE", math.inf):  # after every epoch
            fitted = train(bench, Training(**row), checkpoint=folder / "checkpoint.pt")
        if not distributed.rank():
            (folder / "result.json").write_text(json.dumps(fitted._replace(trained=None)))


# --- the table


def run(bench: Bench, name: str) -> list[Line]:
    """A check's lines; what it raises is one too."""
    lines = []
    try:
        lines.extend(CHECKS[name](bench))
    except Exception as error:  # the others must still run
        lines.append(Line(name, " ".join(f"{type(error).__name__}: {error}".split())[:300], "", False))
    return lines


def ladder_minutes(bench: Bench, way: str) -> float:
    """Minutes of all rows at the challenge's size and with every epoch run, from the median speeds."""
    minutes = 0.0
    for name, row in bench.settings.items():
        speeds = bench.figures[name]["images_per_second"]
        speed, inference = (statistics.median(speeds[each]) for each in (way, "inference"))
        held_out = row["train"]["validation"] * sum(TABLE_1.values())
        minutes += row["train"]["epochs"] * ((sum(TABLE_1.values()) - held_out) / speed + held_out / inference) / 60
    return minutes


def show(bench: Bench, found: dict[str, list[Line]], on: dict[str, Any]) -> None:
    """Print everything found so far as Markdown."""
    lines = {name: found[name] for name in CHECKS if name in found}
    if set(bench.settings) <= set(bench.figures):
        for way in ("end to end", "compiled"):
            minutes, goal = ladder_minutes(bench, way), f"< {MINUTES}"
            what = f"whole ladder at {sum(TABLE_1.values()):,} images, every epoch run, {way}: extrapolated"
            lines |= {f"ladder, {way}": [Line(what, f"{minutes:.0f} minutes", goal, minutes < MINUTES)]}
    print(f"\n{on['device']}, {on['cores']} cores, torch {on['torch']}, {bench.size} px, n = {bench.rounds} rounds\n")
    print("| check | | found | goal | |\n| --- | --- | --- | --- | --- |")
    for name, of in lines.items():
        for line in of:
            verdict = {True: "✓", False: "✗", None: ""}[line.ok]
            print(f"| `{name}` | {line.what} | {line.found.replace('|', '/')} | {line.goal} | {verdict} |")
    if not bench.figures:
        return
    ways = ("end to end", "streaming", "compiled", "step alone", "inference")
    print(f"\n| images/s, median (range); GB | {' | '.join(ways)} |\n| --- |{' --- |' * len(ways)}")
    for name, row in bench.figures.items():
        cells = []
        for way in ways:
            if values := row["images_per_second"].get(way):
                peak = f"; {row['peak_bytes'][way] / 1e9:.1f}" if row["peak_bytes"] else ""
                cells.append(f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f}){peak}")
            else:
                cells.append("–")
        print(f"| {name}: {row['model']} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help=f"of: {', '.join(CHECKS)}")
    parser.add_argument("--json", type=Path, help="keep what was found here; what it holds from before is shown too")
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        task(arguments.task)
        return
    names = [name for name in CHECKS if any(fnmatch.fnmatch(name, pattern) for pattern in arguments.only)]
    if not names:
        sys.exit(f"error: --only {' '.join(arguments.only)}: no such check; there are: {', '.join(CHECKS)}")
    if not torch.cuda.is_available():
        print(f"skipped {', '.join(names)}: {NO_GPU}")
        return
    device, kept = choose_device(), arguments.json
    on, earlier = machine(device), json.loads(kept.read_text()) if kept and kept.exists() else {}
    if earlier.get("machine", on) != on:
        sys.exit(f"error: {kept} holds what another machine found: {earlier['machine']}")
    found = {name: [Line(*line) for line in lines] for name, lines in earlier.get("checks", {}).items()}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, Path(folder), figures=earlier.get("figures", {}))
        for name in names:
            started = time.perf_counter()
            found[name] = run(bench, name)
            lines = [f"{line.what}: {line.found}" for line in found[name]]
            print(f"{name}: {time.perf_counter() - started:.0f} s", *lines, sep="\n  ", flush=True)
            if kept:  # after each: the next one may outlast a limit
                kept.write_text(json.dumps({"machine": on, "checks": found, "figures": bench.figures}, indent=2) + "\n")
        show(bench, found, on)
    if any(line.ok is False for name in names if not name.startswith("row-") for line in found[name]):
        sys.exit("error: not everything is as it should be: see ✗")


if __name__ == "__main__":
    main()
