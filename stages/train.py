"""Train one row of the ladder in one repeat and keep its best epoch in models/<row>-<repeat>.safetensors."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dvclive import Live
from filelock import FileLock, Timeout

from stages import run
from wbc.config import DRAWN_CELLS, Compute, Images, load, load_row
from wbc.data.tables import MANIFEST, PIXELS, VALIDATION
from wbc.errors import UserError
from wbc.evaluate.calibration import temperature
from wbc.io import atomic, rounded, write_json
from wbc.network import distributed
from wbc.network.inference import choose_device
from wbc.network.model import Trained, save_model
from wbc.network.pixels import load_part
from wbc.network.reference import reference
from wbc.train.curves import curves
from wbc.train.engine import checkpoint_key, fit, log

# Who saw nothing but such cells takes others for them: benchmarks.unusual
NARROW = ("none", DRAWN_CELLS.as_posix())
# Not an output: DVC deletes those before a run, and an unfinished training must survive. Outside the throw-away copy
# that `dvc exp run --temp` works in, which DVC_ROOT is the way out of.
SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch" / "train"
DIGITS = 4  # decimals of the temperature: an optimum's last ones are noise between machines


def main(name: str, repeat: str) -> None:
    compute, images = load("configs/compute.yaml"), load("configs/images.yaml")
    if compute.launch == "torchrun" and not distributed.launched():
        distributed.relaunch("stages.train", name, repeat)
    with distributed.process_group():
        train_row(name, int(repeat), compute, images)


def train_row(name: str, repeat: int, compute: Compute, images: Images) -> None:
    row, name = load_row(name, repeat), f"{name}-{repeat}"
    settings = row.model_dump(exclude_none=True, exclude={"tta", "embed"})  # those act after training
    device = choose_device()
    train, validation = (load_part(part, repeat, row.train.validation, device) for part in ("train", "validation"))
    log(f"{name}: {row.model.name} on {device.type}, {len(train.ids)} images, validation on {len(validation.ids)}")

    shared = compute.model_dump(), images.model_dump(), device.type, distributed.world_size()
    files = [MANIFEST, VALIDATION / f"{repeat}.csv", PIXELS, *code()]
    scratch = SCRATCH / f"{name}-{checkpoint_key(settings, *shared, *files)}"
    first = not distributed.rank()  # it alone writes
    with alone(scratch) if first else nullcontext():
        with dvclive(f"plots/train/{name}") if first else nullcontext(lambda epoch: None) as on_epoch:
            model, normalisation, progress = fit(row, train, validation, scratch / "checkpoint.pt", on_epoch)
        # in every process, since they share out the inference that this takes, whatever it is made of
        known = None
        if row.model.weights not in NARROW:
            known = reference(model.backbone.to(device), normalisation, train, validation)
        trained = Trained(model, settings, normalisation, train.pixels.size, known, images.crop)
        chances = trained.probabilities(validation.pixels)
        if not first:
            return
        t = round(temperature(validation.targets.numpy(), chances.numpy()), DIGITS)
        save_model(Path(f"models/{name}.safetensors"), trained._replace(model=model.cpu(), temperature=t))
        write_json(f"metrics/train/{name}.json", {"val_f1": progress.best_f1, "best_epoch": progress.best_epoch})
        figure = curves(progress.history, progress.best_epoch, row.train.freeze, f"{name}: {row.model.name}")
        with atomic(f"plots/train/{name}.png") as path:
            figure.savefig(path, dpi=100, format="png", metadata={"Software": None})
        shutil.rmtree(scratch, ignore_errors=True)  # a rest would harm nothing


def code() -> list[Path]:
    """The files that dvc.yaml knows this stage by."""
    root = Path(__file__).parent.parent
    files = ("stages/train.py", "wbc/classes.py", "wbc/classical/linear.py", "wbc/data/tables.py", "wbc/io.py")
    files += ("wbc/evaluate/calibration.py", "wbc/evaluate/scores.py", "wbc/evaluate/unusual.py", "wbc/modelfile.py")
    return [root / file for file in files] + sorted(root.glob("wbc/network/*.py")) + sorted(root.glob("wbc/train/*.py"))


@contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Refuse to train what another process is training: two cannot share a checkpoint, and one result is enough."""
    scratch.mkdir(parents=True, exist_ok=True)
    try:  # the operating system's lock: it ends with the process, however that ends
        lock = FileLock(scratch / "lock").acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"another process trains this row with the same settings and data ({scratch}): "
            f"run this again when it is done, and DVC takes its result"
        ) from None
    with lock:
        yield


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
