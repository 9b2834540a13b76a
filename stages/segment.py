"""Segment every image by one method, such as hsv, into data/masks/<method>.npz."""

import numpy as np
import pandas as pd

from stages import run
from wbc.classes import CLASSES
from wbc.config import load
from wbc.data.images import read, read_mask, write_jpeg
from wbc.data.tables import fingerprint, read_manifest
from wbc.io import write_json, write_npz
from wbc.parallel import parallel_map
from wbc.segment import failed, method, panel, score

PANEL_CLASSES = CLASSES[::2]  # one cell of every second class makes a figure that fits a screen
PANEL_CASES = 2  # of the best, the median and the worst each


def segmented(name: str, path: str, sha256: str, truth: str) -> tuple[np.ndarray, dict[str, float]]:
    chosen = method(name)
    mask = chosen.segment(read(path, sha256))
    agreement = score(mask, read_mask(truth, mask.shape), chosen.NUCLEUS) if truth else {}
    return mask, {"failed": failed(mask, chosen.NUCLEUS), **agreement}


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


def main(name: str) -> None:
    manifest, backend = read_manifest(), load("configs/compute.yaml").joblib_backend
    tasks = ((name, row.path, row.sha256, row.mask) for row in manifest.itertuples())
    results = parallel_map(segmented, tasks, len(manifest), name, backend=backend)
    scores = []

    def masks():
        for id, (mask, measured) in zip(manifest["id"], results, strict=True):
            scores.append(measured)
            yield id, mask

    target = f"data/masks/{name}.npz"
    write_npz(target, masks(), fingerprint(manifest))
    table = pd.DataFrame(scores)
    means = table.mean().to_dict()  # Dice and IoU: of the images that come with a true mask
    write_json(f"metrics/segment/{name}.json", means)

    shown = chosen(manifest, table)
    rows = manifest.loc[list(shown.values())]
    with np.load(target) as stored:
        images = [read(row.path, row.sha256) for row in rows.itertuples()]
        figure = panel(images, [stored[id] for id in rows["id"]], list(shown), method(name).NUCLEUS)
    write_jpeg(f"plots/segment/{name}.jpg", figure)
    print(f"{name}: {len(manifest)} masks" + "".join(f", {k} {v:.3f}" for k, v in means.items()))


if __name__ == "__main__":
    run(main)
