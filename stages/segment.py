"""Segment every image by one method (hsv, lab or polar) into data/masks/<method>.npz."""

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages import run
from wbc.classes import CLASSES
from wbc.data.images import read, read_mask, write_jpeg
from wbc.data.tables import read_manifest
from wbc.io import write_json, write_npz
from wbc.segment import CELL_ONLY, METHODS, failed, panel, score

PANEL_CLASSES = CLASSES[::2]  # one cell of every second class makes a figure that fits a screen
PANEL_CASES = 2  # of the best, the median and the worst each


def segment(row, method: str) -> tuple[np.ndarray, dict[str, float]]:
    mask = METHODS[method](read(row.path, row.sha256))
    nucleus = method not in CELL_ONLY
    agreement = score(mask, read_mask(row.mask, mask.shape), nucleus) if row.mask else {}
    return mask, {"failed": failed(mask, nucleus), **agreement}


def chosen(manifest: pd.DataFrame, scores: pd.DataFrame) -> dict[str, int]:
    """Rows of the figure, by title: best, median and worst by Dice of the cell or, without truth, one per class."""
    if "cell_dice" not in scores:
        train = manifest[manifest["part"] == "train"].drop_duplicates("label")
        return {row.label: row.Index for row in train.itertuples() if row.label in PANEL_CLASSES}
    dice = scores["cell_dice"].dropna().sort_values(ascending=False, kind="stable")
    middle = max(0, (len(dice) - PANEL_CASES) // 2)
    places = {"best": 0, "median": middle, "worst": max(0, len(dice) - PANEL_CASES)}
    return {
        f"{name}: {manifest['id'][index]} {manifest['label'][index]}, cell Dice {value:.3f}": index
        for name, place in places.items()
        for index, value in dice.iloc[place : place + PANEL_CASES].items()
    }


def main(method: str) -> None:
    manifest = read_manifest()
    tasks = (delayed(segment)(row, method) for row in manifest.itertuples(index=False, name="Row"))
    results = Parallel(n_jobs=-1, return_as="generator")(tasks)
    scores = []

    def masks():
        for id, (mask, measured) in zip(
            manifest["id"], tqdm(results, method, len(manifest), disable=None), strict=True
        ):
            scores.append(measured)
            yield id, mask

    target = f"data/masks/{method}.npz"
    write_npz(target, masks())
    table = pd.DataFrame(scores)
    means = table.mean().to_dict()  # Dice and IoU: of the images that come with a true mask
    write_json(f"metrics/segment/{method}.json", means)

    shown = chosen(manifest, table)
    rows = manifest.loc[list(shown.values())]
    with np.load(target) as stored:
        images = [read(row.path, row.sha256) for row in rows.itertuples()]
        figure = panel(images, [stored[id] for id in rows["id"]], list(shown), nucleus=method not in CELL_ONLY)
    write_jpeg(f"plots/segment/{method}.jpg", figure)
    print(f"{method}: {len(manifest)} masks" + "".join(f", {k} {v:.3f}" for k, v in means.items()))


if __name__ == "__main__":
    run(main)
