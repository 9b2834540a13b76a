"""Score one row on the test part's images as another microscope would have shown them, without TTA."""

import numpy as np

from stages import run, say
from wbc.config.files import STUDY, load
from wbc.core.io import write_csv, write_json
from wbc.core.tables import RUNS, check
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import Pixels, load_part
from wbc.robustness import CORRUPTIONS, corrupt
from wbc.scoring.scores import macro_f1

SEVERITIES = (1, 3, 5)


def main(row: str, repeat: str) -> None:
    settings, folder, device = load("robustness"), RUNS / f"{row}-{repeat}", choose_device()
    check(folder / "train", f"train@{row}-{repeat}", STUDY)
    trained = load_model(folder / "train/model.safetensors")
    _, pixels, targets = load_part("test", int(repeat), 0.0, device)
    known = targets.numpy() >= 0
    images, target = pixels.packed[pixels.rows[known]], targets.numpy()[known]

    def f1(images: np.ndarray) -> float:
        found = trained.probabilities(Pixels(images, np.arange(len(images)), device))
        return macro_f1(target, found.argmax(1).numpy())

    metrics, lines = {}, []
    if known.any():
        clean, means = f1(images), []
        for corruption in CORRUPTIONS:
            scores = [f1(corrupt(images, corruption, severity, settings.seed)) for severity in SEVERITIES]
            lines += [(corruption, *point) for point in zip((0, *SEVERITIES), (clean, *scores), strict=True)]
            means.append(float(np.mean(scores)))
        metrics = {"clean": clean, "mean": float(np.mean(means)), "worst": min(means)}
    write_csv(folder / "robustness/scores.csv", ["corruption", "severity", "f1"], lines)
    write_json(folder / "robustness.json", metrics)
    say(f"{row}-{repeat}", metrics)


if __name__ == "__main__":
    run(main)
