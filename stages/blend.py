"""Blend one row of the ladder with a classical model: the mean of their calibrated probabilities, in one file."""

import numpy as np
import pandas as pd

from stages import run, say
from wbc.config.files import STUDY, load
from wbc.core.tables import RUNS, check, mark, write_submission
from wbc.models.model import save_blend
from wbc.network.model import load_model
from wbc.scoring.calibration import scaled
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions
from wbc.scoring.scores import macro_f1

SHARE = 0.5  # of the classical model; one chosen on the validation part does no better (docs/evidence.md)


def main(row: str, repeat: str) -> None:
    settings, folder = load("blend", row), RUNS / f"{row}-{repeat}"
    partner = RUNS / f"{settings.features}-{repeat}"
    files = folder / "train/model.safetensors", partner / f"classical/{settings.classifier}.skops"
    trained = load_model(files[0])
    sets, parts = load("external").sets, {}
    check(folder / "predict", f"predict@{row}-{repeat}", STUDY, *sets)
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
            (1 - SHARE) * scaled(each, trained.temperature) + SHARE * found.probabilities[places]
            for each in (own.probabilities, own.tta)
        )
        both = [each for each in (own.novelty, found.novelty) if each is not None]
        novelty = np.max([each[places] if each is found.novelty else each for each in both], axis=0) if both else None
        parts[name] = Predictions(own.ids, own.target, plain, tta, novelty)
    write_predictions(folder / "blend/predictions.npz", parts)
    mark(folder / "blend", STUDY, *sets)
    if "test" in parts:
        write_submission(folder / "blend/submission.csv", parts["test"].ids, parts["test"].tta.argmax(1).tolist())
    save_blend(folder / "blend/model.zip", list(zip((1 - SHARE, SHARE), files, strict=True)))
    shown = {name: macro_f1(it.target, it.tta.argmax(1)) for name, it in parts.items() if (it.target >= 0).all()}
    say(f"{row}-{repeat}: macro F1 with TTA", shown)


if __name__ == "__main__":
    run(main)
