"""Segment every image of one set by each method into data/masks/<set>/<method>.npz."""

import numpy as np
import pandas as pd

from stages import run, say
from wbc.config.files import load
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv, write_json, write_npz
from wbc.core.parallel import parallel_map
from wbc.core.tables import MASKS, mark, read_manifest
from wbc.dataset.images import read, read_mask, write_jpeg
from wbc.segment import failed, method, panel, score

PANEL_CLASSES = CLASSES[::2]  # one cell of every second class makes a figure that fits a screen
PANEL_CASES = 2  # of the best, the median and the worst each
COMPARED = ("cell_dice", "nucleus_dice")  # what a metrics file has


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


def main(of: str) -> None:
    manifest, metrics, lines = read_manifest(of), {}, []
    for name in load("segment").methods:
        means = segment(of, name, manifest)
        lines.append({"method": name, "images": len(manifest), **means})
        metrics |= {f"{name}_{key}": means[key] for key in COMPARED if key in means}
        say(f"{of}, {name}: {len(manifest)} masks", means)
    mark(MASKS / of, of)
    table = pd.DataFrame(lines)
    write_csv(MASKS / of / "scores.csv", table.columns, table.itertuples(index=False))
    write_json(MASKS / f"{of}.json", metrics)


def segment(of: str, name: str, manifest: pd.DataFrame) -> dict[str, float]:
    """Write one method's masks and its figure; the mean Dice and IoU of the images that come with a true mask."""
    tasks = ((name, row.path, row.sha256, row.mask) for row in manifest.itertuples())
    results = parallel_map(segmented, tasks, len(manifest), name)
    scores = []

    def masks():
        for id, (mask, measured) in zip(manifest["id"], results, strict=True):
            scores.append(measured)
            yield id, mask

    target = MASKS / of / f"{name}.npz"
    write_npz(target, masks())
    table = pd.DataFrame(scores)
    shown = chosen(manifest, table)
    rows = manifest.loc[list(shown.values())]
    if len(rows):
        with np.load(target) as stored:
            images = [read(row.path, row.sha256) for row in rows.itertuples()]
            figure = panel(images, [stored[id] for id in rows["id"]], list(shown), method(name).NUCLEUS)
        write_jpeg(MASKS / of / f"{name}.jpg", figure)
    return table.mean().to_dict()


if __name__ == "__main__":
    run(main)
