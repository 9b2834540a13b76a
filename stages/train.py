"""Train one row of the ladder and keep its best epoch in models/<row>.safetensors."""

import os
import shutil
from pathlib import Path

from dvclive import Live

from stages import run
from wbc.config import Row, load
from wbc.data.tables import MANIFEST, SPLITS
from wbc.io import atomic, rounded, write_json
from wbc.train import distributed
from wbc.train.curves import curves
from wbc.train.data import load_part
from wbc.train.engine import fingerprint, fit, say
from wbc.train.inference import device
from wbc.train.model import Trained, save_model
from wbc.train.reference import reference

# Not an output: DVC deletes those before a run, and an unfinished training must survive. Outside the throw-away copy
# that `dvc exp run --temp` works in, which DVC_ROOT is the way out of.
SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch" / "train"


def main(name: str) -> None:
    compute, images = load("configs/compute.yaml"), load("configs/images.yaml")
    if compute["launch"] == "torchrun" and not distributed.launched():
        distributed.relaunch("stages.train", name)
    with distributed.group():
        train_row(name, compute, images)


def train_row(name: str, *shared: dict) -> None:
    row = load(f"configs/{name}.yaml", Row)
    settings = row.model_dump(exclude_none=True, exclude={"tta", "embed"})  # those act after training
    where = device()
    train, validation = (load_part(part, row.train.validation, where) for part in ("train", "validation"))
    say(f"{name}: {row.model.name} on {len(train.ids)} images, validation on {len(validation.ids)}")

    inputs = [settings, *shared, where.type, distributed.world(), MANIFEST, SPLITS, Path("wbc/train")]
    scratch = SCRATCH / f"{name}-{fingerprint(*inputs)}"
    if distributed.rank():
        fit(row, train, validation, scratch / "checkpoint.pt")
        return

    with Live(f"plots/train/{name}", dvcyaml=None, report=None, save_dvc_exp=False) as live:

        def log(epoch: dict[str, float]) -> None:
            live.step = epoch.pop("epoch")
            for metric, value in rounded(epoch).items():
                live.log_metric(metric, value)
            live.next_step()

        model, normalisation, progress = fit(row, train, validation, scratch / "checkpoint.pt", log)
    known = reference(model.backbone.to(where), normalisation, train, validation)
    trained = Trained(model.cpu(), settings, normalisation, train.pixels.size, known)
    save_model(Path(f"models/{name}.safetensors"), trained)
    write_json(f"metrics/train/{name}.json", {"val_f1": progress.best_f1, "best_epoch": progress.best_epoch})
    figure = curves(progress.history, progress.best_epoch, row.train.freeze, f"{name}: {row.model.name}")
    with atomic(f"plots/train/{name}.png") as path:
        figure.savefig(path, dpi=100, format="png", metadata={"Software": None})
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run(main)
