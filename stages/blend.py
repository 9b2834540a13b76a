"""Blend one row of the ladder with a classical model: the mean of what both say, calibrated, and one file with both."""

import numpy as np
import pandas as pd

from stages import run, say
from wbc.classical.linear import load_linear
from wbc.config import BLEND, load
from wbc.data.tables import write_submission
from wbc.evaluate.calibration import scaled
from wbc.evaluate.scores import SCORES
from wbc.io import write_json, write_npz
from wbc.network.model import load_model, save_model

SHARE = 0.5  # of the classical model; one chosen on the validation part does no better (docs/evidence.md)
PARTS = {"val": "out_of_fold", "test": "test"}  # what the classical model says of validation images: as those of a fold


def main(row: str, repeat: str) -> None:
    settings, name = load("configs/blend.yaml"), f"{row}{BLEND}-{repeat}"
    trained = load_model(f"models/{row}-{repeat}.safetensors")
    partner = load_linear(f"models/classical/{settings.features}-{repeat}/{settings.classifier}.safetensors")
    metrics, arrays, submission = {}, [], ([], [])
    with (
        np.load(f"data/predictions/{row}-{repeat}.npz") as network,
        np.load(f"data/predictions/{settings.features}-{repeat}.npz") as classical,
    ):
        for short, part in PARTS.items():
            if f"{short}_ids" not in network:
                continue
            ids, targets = network[f"{short}_ids"], network[f"{short}_targets"]
            arrays += [(f"{short}_ids", ids), (f"{short}_targets", targets)]
            found = pd.DataFrame(classical[f"{settings.classifier}_{part}"], classical[f"{part}_ids"]).loc[ids]
            for way in ("", "_tta"):
                own = scaled(network[f"{short}_probabilities{way}"], trained.temperature)
                blended = (1 - SHARE) * own + SHARE * found.to_numpy()
                arrays.append((f"{short}_probabilities{way}", blended))
                predicted, known = blended.argmax(1), targets >= 0
                if known.any():
                    scores = {key: score(targets[known], predicted[known]) for key, score in SCORES.items()}
                    metrics |= {f"{short}_{key}{way}": value for key, value in scores.items()}
            if short == "test":
                submission = ids, predicted  # with TTA, as of every row
    write_npz(f"data/predictions/{name}.npz", arrays)
    write_submission(f"data/predictions/{name}.csv", *submission)
    write_json(f"metrics/predict/{name}.json", metrics)
    save_model(f"models/{name}.safetensors", trained._replace(linear=partner, share=SHARE))
    say(name, metrics)


if __name__ == "__main__":
    run(main)
