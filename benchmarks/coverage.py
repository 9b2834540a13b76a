"""How often the 95% intervals of `wbc.evaluate` hold the true score, by simulation: `python -m benchmarks.coverage`.

A classifier with known chances (`CLAIMED`, in per cent, near what good entries of the challenge reach) is tested again
and again, on test parts of the challenge's 9,634 images: with exactly its class counts, as a stratified split has them,
or with counts drawn at random. Its true scores are those of the expected confusion matrix. A second classifier agrees
with it on two images in three and is otherwise drawn alike, so that the true difference is 0.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.full_size import POOL
from wbc.core.classes import CLASSES, TABLE_1
from wbc.statistics import differences, intervals, scores

IMAGES = {label: POOL[label] - TABLE_1[label] for label in CLASSES}  # of the report's test part: 9,634
CLAIMED = {  # of 100 images of a class, how many are taken for which other
    "SNE": {"BNE": 2, "MMY": 0.3, "EO": 0.3, "LY": 0.2, "BA": 0.2},
    "LY": {"VLY": 1.6, "BL": 1.2, "MO": 1, "PC": 0.2, "SNE": 0.3, "BA": 0.2, "PLY": 0.1},
    "MO": {"BL": 4, "LY": 3, "MY": 1, "VLY": 1, "MMY": 1, "SNE": 1},
    "BL": {"LY": 5, "MO": 4, "PMY": 1, "MY": 1, "VLY": 1},
    "EO": {"SNE": 4, "BNE": 0.5},
    "MY": {"MMY": 15, "MO": 10, "PMY": 5, "BL": 5, "BNE": 4},
    "BA": {"LY": 4, "SNE": 3, "EO": 1},
    "BNE": {"SNE": 56, "MMY": 8, "MY": 1},
    "VLY": {"LY": 34, "BL": 8, "MO": 8, "PC": 3},
    "MMY": {"MY": 17, "BNE": 12, "SNE": 12, "MO": 8},
    "PMY": {"MY": 20, "BL": 18, "MO": 4},
    "PC": {"LY": 20, "VLY": 10, "BL": 8, "PMY": 4},
    "PLY": {"LY": 50, "BL": 20},
}
AGREEING = 2 / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500, help="test parts (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    chances, images = matrix(), np.array(list(IMAGES.values()))
    truth = {name: float(value) for name, value in scores(chances * images[:, None], images).items()}
    results = []
    for counts in ("fixed", "random"):
        results += simulate(chances, images, counts, arguments.repetitions, truth)
    table = pd.DataFrame(results, columns=["class counts", "bootstrap", "score", "holds", "width"])
    table = table.groupby(list(table.columns[:3]), sort=False).agg({"holds": ["size", "mean"], "width": "mean"})
    table.columns = ["repetitions", "share that hold the truth", "mean width"]
    table = table.reset_index()
    print("true scores: " + ", ".join(f"{name} {value:.4f}" for name, value in truth.items()))
    print(table.to_markdown(index=False, floatfmt=("", "", "", "", ".3f", ".4f")))
    if arguments.json:
        lines = table.astype(object).where(table.notna(), None).to_dict("records")
        arguments.json.write_text(json.dumps({"true": truth, "coverage": lines}, indent=2) + "\n")


def matrix() -> np.ndarray:
    """(13, 13) chances of each class to be taken for each."""
    others = np.array([[CLAIMED[true].get(claimed, 0) for claimed in CLASSES] for true in CLASSES]) / 100
    return others + np.diag(1 - others.sum(1))


def simulate(
    chances: np.ndarray, images: np.ndarray, counts: str, repetitions: int, truth: dict[str, float]
) -> list[tuple[str, str, str, bool, float]]:
    """Class counts, bootstrap, score, whether its interval holds the truth, and the interval's width, many times."""
    rng, found = np.random.default_rng(0), []
    for seed in tqdm(range(repetitions), f"class counts {counts}", disable=None):
        sizes = images if counts == "fixed" else rng.multinomial(images.sum(), images / images.sum())
        target = np.repeat(np.arange(len(CLASSES)), sizes)
        a, other = (predict(chances, target, rng) for _ in range(2))
        for way, stratified in (("stratified", True), ("plain", False)):
            for name, it in intervals(target, a, stratified=stratified, seed=seed).items():
                found.append((counts, way, name, it.low <= truth[name] <= it.high, it.high - it.low))
        if counts == "fixed":
            b = np.where(rng.random(len(target)) < AGREEING, a, other)
            for name, it in differences(target, a, b, seed=seed).items():
                found.append((counts, "stratified", f"difference of {name}", it.low <= 0 <= it.high, it.high - it.low))
                found.append((counts, "swaps", f"p of {name} ≥ 5%", it.p >= 0.05, np.nan))
                found.append((counts, "both", f"{name} undecided", it.verdict == "undecided", np.nan))
    return found


def predict(chances: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) predictions drawn from the (13, 13) chances of the (N,) targets' classes."""
    return (rng.random((len(target), 1)) > chances.cumsum(1)[target][:, :-1]).sum(1)


if __name__ == "__main__":
    main()
