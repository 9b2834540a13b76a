"""Predict the external sets with the classical models of one feature set: `classical` or `gridsearch`."""

from wbc.classical.model import load_classical
from wbc.config.files import STUDY, load
from wbc.core.tables import RUNS, check, mark, read_external, read_features, targets
from wbc.scoring.predictions import Predictions, write_predictions


def main(features: str, repeat: str, models: str = "classical", out: str = "external") -> None:
    folder, sets = RUNS / f"{features}-{repeat}", load("external").sets
    check(folder / models, f"gridsearch@{repeat}" if models == "gridsearch" else f"classical@{folder.name}", STUDY)
    files = sorted((folder / models).glob("*.skops"))
    for file in files:
        model, parts = load_classical(file), {}
        for name in sets:
            manifest, values = read_external(name), read_features(name, features).to_numpy()
            ids, target = manifest["id"].to_numpy(str), targets(manifest)
            parts[name] = Predictions(ids, target, model.probabilities(values), novelty=model.novelty(values))
        write_predictions(folder / out / f"{file.stem}.npz", parts)
    mark(folder / out, STUDY, *sets)
    print(f"{features}: {len(files)} models on {', '.join(sets) or 'no external set'}")
