"""Train one row of the ladder in one repeat and keep its best epoch in runs/<row>-<repeat>/train/."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from dvclive import Live
from filelock import FileLock, Timeout

from stages import STARTED
from wbc.config.files import DRAWN_CELLS, STUDY, load
from wbc.config.schema import Training
from wbc.core.io import rounded, write_csv, write_json
from wbc.core.tables import INGEST, PIXELS, RUNS, SPLIT, mark
from wbc.network.inference import choose_device
from wbc.network.model import Network, save_model
from wbc.network.pixels import load_part
from wbc.network.reference import fit_reference
from wbc.scoring.calibration import fit_temperature
from wbc.train.engine import HISTORY, checkpoint_key, fit

# A network that saw nothing but drawn cells cannot tell other cells from them: benchmarks/README.md has the figures
WITHOUT_NOVELTY = ("none", DRAWN_CELLS.as_posix())
# Checkpoints are no outputs, which DVC deletes before a run. DVC_ROOT is the path to the repository from the copy that
# `dvc exp run --temp` works in and deletes
SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch/train"
FINISHED = "finished"  # a file beside the checkpoint of a training that has ended
DIGITS = 4  # decimals of the temperature; the last ones of an optimum differ between machines


def main(row: str, repeat: str) -> None:
    settings, folder = Training(**vars(load(f"train/{row}", int(repeat)))), RUNS / f"{row}-{repeat}"
    device = choose_device()
    fraction, size = settings.train.validation, settings.model.size or 0
    parts = [load_part(part, int(repeat), fraction, device, size) for part in ("train", "validation")]
    train, validation = parts
    sizes = f"{len(train.ids)} images, validation on {len(validation.ids)}"
    print(f"{folder.name}: {settings.model.name} on {device.type}, {sizes}")
    acting = settings.model_dump(exclude_none=True)
    files = [INGEST / STUDY / "manifest.csv", SPLIT / f"{repeat}/validation.csv", PIXELS / STUDY / "images.npy"]
    key = checkpoint_key([acting, device.type], [*files, *sorted(Path("wbc").rglob("*.py"))])
    with checkpoint(f"{folder.name}-{key}") as path:
        with Live(folder / "live", dvcyaml=None, report=None, save_dvc_exp=False) as live:
            model, normalisation, progress = fit(settings, *parts, path, partial(log_epoch, live))
        tells = settings.model.weights not in WITHOUT_NOVELTY
        reference = fit_reference(model.backbone.to(device), normalisation, *parts) if tells else None
        kept = {key: value for key, value in acting.items() if key not in ("compute", "images")}
        network = Network(model, kept, normalisation, train.pixels.size, reference, settings.images.crop)
        probabilities = network.probabilities(validation.pixels).numpy()
        t = round(fit_temperature(validation.targets.numpy(), probabilities), DIGITS)
        save_model(folder / "train/model.safetensors", network._replace(model=model.cpu(), temperature=t))
        write_csv(folder / "train/history.csv", HISTORY, progress.history)
        mark(folder / "train", STUDY)
        write_json(folder / "train.json", {"val_f1": progress.best_f1, "best_epoch": progress.best_epoch})


@contextmanager
def checkpoint(name: str) -> Iterator[Path]:
    """Yield the path of a training's checkpoint, for one process at a time.

    A process that waits for another finds its finished checkpoint, and writes the same outputs without training again.
    Checkpoints that were finished before this process started are deleted: a later training starts anew.
    """
    for finished in SCRATCH.glob(f"*/{FINISHED}"):
        with suppress(OSError), FileLock(f"{finished.parent}.lock", timeout=0):
            if finished.stat().st_mtime < STARTED:
                shutil.rmtree(finished.parent)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    lock = FileLock(SCRATCH / f"{name}.lock")  # the operating system releases it, however the process ends
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print("another process trains this row with the same settings and data: waiting for its result")
        held = lock.acquire()
    with held:
        (SCRATCH / name).mkdir(exist_ok=True)
        yield SCRATCH / name / "checkpoint.pt"
        (SCRATCH / name / FINISHED).touch()


def log_epoch(live: Live, epoch: dict[str, float]) -> None:
    """Add an epoch to DVCLive's curves."""
    live.step = epoch.pop("epoch")
    for metric, value in rounded(epoch).items():
        live.log_metric(metric, value)
    live.next_step()
