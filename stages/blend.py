"""Blend one row of the ladder with a classical model: the mean of what both say, calibrated, and one file with both."""

import pandas as pd

from stages import run
from wbc.classical.linear import load_linear
from wbc.config import BLEND, load
from wbc.data.tables import fingerprint, read_manifest, read_npz, write_submission
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
    metrics, arrays, submission, manifest = {}, [], ([], []), read_manifest()
    of_row, of_features = f"{row}-{repeat}", f"{settings.features}-{repeat}"
    with (
        read_npz(f"data/predictions/{of_row}.npz", manifest, f"predict@{of_row}") as network,
        read_npz(f"data/predictions/{of_features}.npz", manifest, f"classical@{of_features}") as classical,
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
    write_npz(f"data/predictions/{name}.npz", arrays, fingerprint(manifest))
    write_submission(f"data/predictions/{name}.csv", *submission)
    write_json(f"metrics/predict/{name}.json", metrics)
    save_model(f"models/{name}.safetensors", trained._replace(linear=partner, share=SHARE))
    print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in metrics.items()))


if __name__ == "__main__":
    run(main)
