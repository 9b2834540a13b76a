"""Train one row of the ladder and keep its best epoch in models/<row>.safetensors."""

import os
import shutil
from pathlib import Path

from stages import run
from wbc.config import Row, load
from wbc.data.tables import MANIFEST, SPLITS
from wbc.io import write_csv, write_json
from wbc.train.data import load_part
from wbc.train.engine import HISTORY, fingerprint, fit
from wbc.train.inference import device
from wbc.train.model import save_model

# Not an output: DVC deletes those before a run, and an unfinished training must survive. Outside the throw-away copy
# that `dvc exp run --temp` works in, which DVC_ROOT is the way out of.
SCRATCH = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch" / "train"


def main(name: str) -> None:
    path = Path(f"configs/{name}.yaml")
    row = load(path, Row)
    settings = row.model_dump(exclude_none=True, exclude={"tta", "embed"})  # those act after training
    train, validation = (load_part(part, row.train.validation) for part in ("train", "validation"))
    print(f"{name}: {row.model.name} on {len(train.ids)} images, validation on {len(validation.ids)}")

    inputs = [settings, load("configs/compute.yaml"), load("configs/images.yaml"), str(device())]
    inputs += [MANIFEST, SPLITS, Path("wbc/train"), *filter(Path.is_file, [Path(row.model.weights)])]
    scratch = SCRATCH / f"{name}-{fingerprint(*inputs)}"
    model, normalisation, progress = fit(row, train[1:], validation[1:], scratch / "checkpoint.pt")

    save_model(Path(f"models/{name}.safetensors"), model, settings, normalisation)
    write_json(f"metrics/train/{name}.json", {"val_f1": progress.best_f1, "best_epoch": progress.best_epoch})
    write_csv(f"plots/train/{name}.csv", HISTORY, progress.history)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run(main)
