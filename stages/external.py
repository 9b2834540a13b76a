"""Predict the external sets with the classical models of one feature set."""

from stages import run
from wbc.config import load
from wbc.core.tables import RUNS, read_features, read_manifest, targets
from wbc.models.model import load as load_model
from wbc.models.model import novelty, probabilities
from wbc.scoring.predictions import Predictions, write_predictions


def main(features: str, repeat: str) -> None:
    folder = RUNS / f"{features}-{repeat}"
    for file in sorted(folder.glob("classical/*.safetensors")):
        model, parts = load_model(file), {}
        for name in load("external").sets:
            manifest, values = read_manifest(name), read_features(name, features).to_numpy()
            found = probabilities(model, None, values), None, novelty(model, None, values)
            parts[name] = Predictions(manifest["id"].to_numpy(str), targets(manifest), *found)
        write_predictions(folder / f"external/{file.stem}.npz", parts)
    print(f"{features}: " + (", ".join(load("external").sets) or "no external set"))


if __name__ == "__main__":
    run(main)
