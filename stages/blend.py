"""Blend a network with a classical model into one file: the mean of their calibrated probabilities."""

import numpy as np
import pandas as pd

from stages import run, say
from wbc.config.files import BEST, STUDY, load
from wbc.core.tables import RUNS, check, mark, write_submission
from wbc.models.model import save_blend
from wbc.network.model import load_model
from wbc.scoring.calibration import apply_temperature
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions
from wbc.scoring.scores import macro_f1

FRACTION = 0.5  # of the classical model; one chosen on the validation part is no better (docs/results.md)


def main(repeat: str) -> None:
    settings = load("blend")
    out, row = RUNS / f"{BEST}-{repeat}", f"{settings.row}-{repeat}"
    folder, partner = RUNS / row, RUNS / f"{settings.features}-{repeat}"
    files = folder / "train/model.safetensors", partner / f"classical/{settings.classifier}.skops"
    trained = load_model(files[0])
    sets, parts = load("external").sets, {}
    check(folder / "predict", f"predict@{row}", STUDY, *sets)
    check(partner / "classical", f"classical@{settings.features}-{repeat}", STUDY)
    check(partner / "external", f"external@{settings.features}-{repeat}", STUDY, *sets)
    for name in ("validation", "test", *sets):
        own = read_predictions(folder / "predict/predictions.npz", name)
        if own is None:
            continue
        file = "classical" if name in ("validation", "test") else "external"
        found = read_predictions(partner / f"{file}/{settings.classifier}.npz", name)
        places = pd.Series(np.arange(len(found.ids)), found.ids).loc[own.ids].to_numpy()
        plain, tta = (
            (1 - FRACTION) * apply_temperature(each, trained.temperature) + FRACTION * found.probabilities[places]
            for each in (own.probabilities, own.tta)
        )
        both = [each for each in (own.novelty, found.novelty) if each is not None]
        novelty = np.max([each[places] if each is found.novelty else each for each in both], axis=0) if both else None
        parts[name] = Predictions(own.ids, own.target, plain, tta, novelty)
    write_predictions(out / "predictions.npz", parts)
    mark(out, STUDY, *sets)
    if "test" in parts:
        write_submission(out / "submission.csv", parts["test"].ids, parts["test"].tta.argmax(1).tolist())
    save_blend(out / "model.zip", *files, (1 - FRACTION, FRACTION))
    shown = {name: macro_f1(it.target, it.tta.argmax(1)) for name, it in parts.items() if (it.target >= 0).all()}
    say(f"{BEST}-{repeat}: macro F1 with TTA", shown)


if __name__ == "__main__":
    run(main)
