"""Score one row on the test part's images as another microscope would have shown them, without TTA."""

import numpy as np

from stages import run, say
from wbc.config import load, load_row
from wbc.evaluate.corruptions import BLOOD, corrupt
from wbc.evaluate.scores import macro_f1
from wbc.io import write_csv, write_json
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import Pixels, load_part

SEVERITIES = (1, 3, 5)


def main(name: str, repeat: str) -> None:
    row, name = load_row(name, int(repeat)), f"{name}-{repeat}"
    seed = load("configs/data.yaml").seed  # every row and repeat sees the same draws
    device, trained = choose_device(), load_model(f"models/{name}.safetensors")
    _, pixels, targets = load_part("test", int(repeat), row.train.validation, device)
    known = targets.numpy() >= 0
    images, target = pixels.packed[pixels.rows[known]], targets.numpy()[known]

    def f1(images: np.ndarray) -> float:
        found = trained.probabilities(Pixels(images, np.arange(len(images)), device))
        return macro_f1(target, found.argmax(1).numpy())

    metrics, lines = {}, []
    if known.any():
        clean = f1(images)
        for corruption in BLOOD:
            scores = [f1(corrupt(images, corruption, severity, seed)) for severity in SEVERITIES]
            lines += [(corruption, *point) for point in zip((0, *SEVERITIES), (clean, *scores), strict=True)]
            metrics[corruption] = float(np.mean(scores))
        worst = min(metrics, key=metrics.get)
        metrics = {"clean": clean, "mean": float(np.mean([*metrics.values()])), "worst": metrics[worst], "which": worst}
    write_csv(f"plots/robustness/{name}.csv", ["corruption", "severity", "f1"], lines)
    write_json(f"metrics/robustness/{name}.json", metrics)
    say(name, metrics)


if __name__ == "__main__":
    run(main)
