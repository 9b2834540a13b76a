"""Train one row of the ladder in one repeat and keep its best epoch in runs/<row>-<repeat>/train/."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dvclive import Live
from filelock import FileLock, Timeout

from stages import BEGUN, run
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
# Not an output: DVC deletes those before a run, and an unfinished training must survive. Outside the throw-away copy
# that `dvc exp run --temp` works in, which DVC_ROOT is the way out of.
SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch" / "train"
RESULT = "result"  # in a scratch folder: what a finished training wrote
USEFUL = 600  # seconds in which every process that may take a result has looked for it
DIGITS = 4  # decimals of the temperature: an optimum's last ones are noise between machines


def main(row: str, repeat: str) -> None:
    name, settings, device = f"{row}-{repeat}", Training(**vars(load("train", row, int(repeat)))), choose_device()
    train, validation = (
        load_part(part, int(repeat), settings.train.validation, device) for part in ("train", "validation")
    )
    print(
        f"{name}: {settings.model.name} on {device.type}, {len(train.ids)} images, validation on {len(validation.ids)}"
    )

    acting = settings.model_dump(exclude_none=True)
    files = [
        INGEST / STUDY / "manifest.csv",
        SPLIT / f"{repeat}/validation.csv",
        PIXELS / STUDY / "images.npy",
        *sorted(Path("wbc").rglob("*.py")),
    ]
    scratch = SCRATCH / f"{name}-{checkpoint_key([acting, device.type], files)}"
    with alone(scratch):
        if taken(scratch):
            print(f"{name}: another process has trained it meanwhile, and this is its result")
            return
        with dvclive(f"runs/{name}/live") as on_epoch:
            model, normalisation, progress = fit(settings, train, validation, scratch / "checkpoint.pt", on_epoch)
        known = None
        if settings.model.weights not in WITHOUT_NOVELTY:
            known = fit_reference(model.backbone.to(device), normalisation, train, validation)
        kept = {key: value for key, value in acting.items() if key not in ("compute", "images")}
        trained = Network(model, kept, normalisation, train.pixels.size, known, settings.images.crop)
        probabilities = trained.probabilities(validation.pixels)
        t = round(fit_temperature(validation.targets.numpy(), probabilities.numpy()), DIGITS)
        save_model(RUNS / f"{name}/train/model.safetensors", trained._replace(model=model.cpu(), temperature=t))
        write_json(RUNS / f"{name}/train.json", {"val_f1": progress.best_f1, "best_epoch": progress.best_epoch})
        write_csv(RUNS / f"{name}/train/history.csv", HISTORY, progress.history)
        mark(RUNS / f"{name}/train", STUDY)
        leave(scratch, [f"runs/{name}/{output}" for output in ("train", "train.json", "live")])


@contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Wait for another process that trains the same row: two cannot share a checkpoint, and one result is enough."""
    scratch.mkdir(parents=True, exist_ok=True)
    lock = FileLock(scratch / "lock")  # held by the operating system: it ends with the process, however that ends
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print("another process trains this row with the same settings and data: waiting for its result")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def taken(scratch: Path) -> bool:
    """Take the result of a training that ended since this process began; an older one is done again, as for --force."""
    for result in SCRATCH.glob(f"*/{RESULT}"):
        if result.parent != scratch and result.stat().st_mtime < time.time() - USEFUL:
            with suppress(Timeout), FileLock(result.parent / "lock").acquire(blocking=False):
                shutil.rmtree(result.parent, ignore_errors=True)
    result = scratch / RESULT
    if found := result.exists() and result.stat().st_mtime > BEGUN:
        shutil.copytree(result, ".", dirs_exist_ok=True)
    else:
        shutil.rmtree(result, ignore_errors=True)
    return found


def leave(scratch: Path, outputs: Sequence[str]) -> None:
    """Put what a training wrote in the place of its checkpoint, for processes that wait."""
    part = scratch / f"{RESULT}.part"
    shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):  # a full disk: they train for themselves
        for output in map(Path, outputs):
            copy = shutil.copytree if output.is_dir() else shutil.copy
            (part / output).parent.mkdir(parents=True, exist_ok=True)
            copy(output, part / output)
        part.rename(scratch / RESULT)
    for rest in {*scratch.iterdir()} - {scratch / RESULT, scratch / "lock"}:
        with suppress(OSError):  # it would harm nothing
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()


@contextmanager
def dvclive(folder: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """What takes the values of each epoch and writes DVCLive's curves."""
    with Live(folder, dvcyaml=None, report=None, save_dvc_exp=False) as live:

        def log_epoch(epoch: dict[str, float]) -> None:
            live.step = epoch.pop("epoch")
            for metric, value in rounded(epoch).items():
                live.log_metric(metric, value)
            live.next_step()

        yield log_epoch


if __name__ == "__main__":
    run(main)
