"""Score one row on corrupted images of the test part, without TTA."""

import numpy as np

from stages import say
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
    check(folder / "train", f"train@{folder.name}", STUDY)
    network, lines, means = load_model(folder / "train/model.safetensors"), [], []
    _, pixels, targets = load_part("test", int(repeat), 0.0, device)
    known = targets.numpy() >= 0
    clean, target = pixels.packed[pixels.rows[known]], targets.numpy()[known]

    def f1(images: np.ndarray) -> float:
        pixels = Pixels(images, np.arange(len(images)), device, size=network.size)
        return macro_f1(target, network.probabilities(pixels).argmax(1).numpy())

    best = f1(clean) if len(target) else None
    for corruption in CORRUPTIONS if len(target) else ():
        scores = [f1(corrupt(clean, corruption, severity, settings.seed)) for severity in SEVERITIES]
        lines += [(corruption, *point) for point in zip((0, *SEVERITIES), (best, *scores), strict=True)]
        means.append(float(np.mean(scores)))
    metrics = {"clean": best, "mean": float(np.mean(means)), "worst": min(means)} if means else {}
    write_csv(folder / "robustness/scores.csv", ["corruption", "severity", "f1"], lines)
    write_json(folder / "robustness.json", metrics)
    say(folder.name, metrics)
