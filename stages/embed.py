"""Project one row's embeddings of the validation part by t-SNE (report, Figures 8 and 12)."""

import numpy as np

from wbc.config.files import STUDY, load
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.core.tables import RUNS, check
from wbc.projection import project


def main(row: str, repeat: str) -> None:
    settings, folder = load("embed", int(repeat)), RUNS / f"{row}-{repeat}"
    check(folder / "predict", f"predict@{row}-{repeat}", STUDY, *load("predict").sets)
    with np.load(folder / "predict/embeddings.npz") as stored:
        ids, targets, embeddings = (stored[key] for key in ("ids", "targets", "embeddings"))
    points = project(embeddings, settings.perplexity, settings.seed)
    labels = [CLASSES[target] for target in targets]
    write_csv(folder / "embed/points.csv", ["id", "label", "x", "y"], zip(ids, labels, *points.T, strict=True))
    print(f"{folder.name}: projected {len(ids)} embeddings of {embeddings.shape[1]} dimensions")
