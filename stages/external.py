"""Score every row on a set of another laboratory's images, of the classes that both have, beside its own test part."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages import run
from wbc.classical.linear import Linear
from wbc.config import load
from wbc.data.tables import read_manifest, targets
from wbc.evaluate.calibration import scaled
from wbc.evaluate.external import scored, told_apart
from wbc.evaluate.intervals import patients
from wbc.io import write_json, write_npz
from wbc.network.inference import choose_device
from wbc.network.pixels import Pixels, load_part
from wbc.use import model as models


def at_home(row: str, repeat: str, model: models.Trained | Linear) -> tuple[np.ndarray, np.ndarray]:
    """Targets and calibrated probabilities of the row's own test part."""
    file, _, classifier = row.partition("-")
    with np.load(f"data/predictions/{file}-{repeat}.npz") as stored:
        found = stored[f"{classifier}_test" if classifier else "test_probabilities"]
        alone = not isinstance(model, Linear) and not model.linear  # the others' are calibrated already
        return stored["test_targets"], scaled(found, model.temperature) if alone else found


def main(name: str, repeat: str) -> None:
    settings, folder = load("configs/external.yaml"), Path(f"data/external/{name}")
    files = {row: Path(f"models/{row}-{repeat}.safetensors") for row in settings.rows}
    for each in settings.masks:
        files |= {f"{each}-{file.stem}": file for file in sorted(Path(f"models/classical/{each}-{repeat}").glob("*"))}
    trained = {row: file for row, file in files.items() if file.exists()}  # not all, if this stage ran alone
    metrics, arrays = {}, []
    if settings.sets[name].used:
        manifest, home, device = read_manifest(folder / "manifest.csv"), read_manifest(), choose_device()
        target = targets(manifest)
        common = np.intersect1d(target, targets(home[home["part"] == "train"]))
        arrays += [("ids", manifest["id"].to_numpy(str)), ("targets", target), ("common", common)]
        if (groups := patients(manifest, manifest["id"])) is not None:
            arrays.append(("groups", groups))
        pixels = Pixels(np.load(folder / "images.npy", mmap_mode="r"), np.arange(len(manifest)), device)
        own = load_part("test", int(repeat), 0.0, device).pixels
        features = {each: pd.read_parquet(folder / f"{each}.parquet").to_numpy() for each in settings.masks}
        for row, file in trained.items():
            model = models.load(file)
            linear = model if isinstance(model, Linear) else model.linear
            seen, measured = None if linear is model else pixels, features[linear.features] if linear else None
            ways = {"": models.PLAIN} | ({"_tta": settings.rows[row]} if row in settings.rows else {})
            metrics[row] = {f"home_{key}": value for key, value in scored(*at_home(row, repeat, model), common).items()}
            for way, tta in ways.items():
                found = models.chances(model, seen, measured, tta)
                arrays.append((f"{row}{way}", found))
                metrics[row] |= {f"{key}{way}": value for key, value in scored(target, found, common).items()}
            if linear is not model and model.reference:
                distances = (model.distances(each).numpy() for each in (own, pixels))
                metrics[row] |= told_apart(*distances, model.reference.threshold)
            print(f"{row}: " + ", ".join(f"{key} {value:.3f}" for key, value in metrics[row].items()))
    write_npz(f"data/external/{name}-{repeat}.npz", arrays)
    write_json(f"metrics/external/{name}-{repeat}.json", metrics)


if __name__ == "__main__":
    run(main)
