"""Blend a network and a classical model, the mean of their calibrated probabilities, into one model file."""

import numpy as np
import pandas as pd

from stages import say
from wbc.config.files import BEST, STUDY, load
from wbc.core.tables import RUNS, check
from wbc.models.model import save_blend
from wbc.network.model import load_model
from wbc.scoring.calibration import apply_temperature
from wbc.scoring.predictions import Predictions, read_predictions, write_run

FRACTION = 0.5  # of the classical model; a fraction chosen on the validation part is no better (docs/results.md)


def main(repeat: str) -> None:
    settings, sets, parts = load("blend"), load("external").sets, {}
    row, partner, out = (RUNS / f"{name}-{repeat}" for name in (settings.row, settings.features, BEST))
    check(row / "predict", f"predict@{row.name}", STUDY, *sets)
    check(partner / "classical", f"classical@{partner.name}", STUDY)
    check(partner / "external", f"external@{partner.name}", STUDY, *sets)
    folds = pd.read_csv(partner / "classical/folds.csv")
    classifier = folds.groupby("classifier")["f1"].mean().idxmax()
    files = row / "train/model.safetensors", partner / f"classical/{classifier}.skops"
    network = load_model(files[0])
    for name in ("validation", "test", *sets):
        own = read_predictions(row / "predict/predictions.npz", name)
        if own is None:
            continue
        folder = "external" if name in sets else "classical"
        other = read_predictions(partner / folder / f"{classifier}.npz", name)
        places = pd.Series(np.arange(len(other.ids)), other.ids).loc[own.ids].to_numpy()
        plain, tta = (
            (1 - FRACTION) * apply_temperature(each, network.temperature) + FRACTION * other.probabilities[places]
            for each in (own.probabilities, own.tta)
        )
        known = [] if own.novelty is None else [own.novelty]
        known += [] if other.novelty is None else [other.novelty[places]]
        parts[name] = Predictions(own.ids, own.target, plain, tta, np.max(known, axis=0) if known else None)
    save_blend(out / "model.zip", *files, (1 - FRACTION, FRACTION))
    say(f"{out}: {row.name} and {classifier} on {partner.name}, macro F1 with TTA", write_run(out, parts, STUDY, *sets))
