"""Segment every image by one method (hsv, lab, …) into data/masks/<method>.npz."""

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages import run
from wbc.classes import CLASSES
from wbc.data.images import read, read_mask, write_jpeg
from wbc.data.tables import read_manifest
from wbc.io import write_json, write_npz
from wbc.segment import CELL_ONLY, METHODS, panel, score

PANEL_CLASSES = CLASSES[::2]  # one cell of every second class makes a figure that fits a screen


def segment(row, method: str) -> tuple[np.ndarray, dict[str, float]]:
    mask = METHODS[method](read(row.path, row.sha256))
    return mask, score(mask, read_mask(row.mask), nucleus=method not in CELL_ONLY) if row.mask else {}


def main(method: str) -> None:
    manifest = read_manifest()
    tasks = (delayed(segment)(row, method) for row in manifest.itertuples(index=False, name="Row"))
    results = Parallel(n_jobs=-1, return_as="generator")(tasks)
    scores = []

    def masks():
        for id, (mask, measured) in zip(
            manifest["id"], tqdm(results, method, len(manifest), disable=None), strict=True
        ):
            scores.append({"empty": not mask.any(), **measured})
            yield id, mask

    target = f"data/masks/{method}.npz"
    write_npz(target, masks())
    table = pd.DataFrame(scores)
    empty = int(table.pop("empty").sum())
    means = table.mean().to_dict()  # of the images that come with a true mask
    write_json(f"metrics/segment/{method}.json", {"empty": empty, **means})

    train = manifest[manifest["part"] == "train"].drop_duplicates("label").set_index("label")
    shown = train.loc[[c for c in PANEL_CLASSES if c in train.index]]
    with np.load(target) as stored:
        images = [read(row.path, row.sha256) for row in shown.itertuples()]
        figure = panel(images, [stored[id] for id in shown["id"]], titles=list(shown.index))
    write_jpeg(f"plots/segment/{method}.jpg", figure)
    print(f"{method}: {len(manifest)} masks, {empty} empty" + "".join(f", {k} {v:.3f}" for k, v in means.items()))


if __name__ == "__main__":
    run(main)
