"""Segment every image of one image set by each method, into data/masks/<set>/<method>.npz."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages import say
from wbc.config.files import load
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv, write_json, write_npz
from wbc.core.parallel import parallel_map
from wbc.core.tables import MASKS, mark, read_manifest
from wbc.dataset.images import read, read_mask, write_jpeg
from wbc.segment import failed, method, panel, score

CASES = 2  # cells of the best, the median and the worst Dice in the figure


def segment(name: str, path: str, sha256: str, truth: str) -> tuple[np.ndarray, dict[str, float]]:
    mask, nucleus = method(name).segment(read(path, sha256)), method(name).NUCLEUS
    agreement = score(mask, read_mask(truth, mask.shape), nucleus) if truth else {}
    return mask, {"failed": failed(mask, nucleus), **agreement}


def main(image_set: str) -> None:
    manifest, folder, metrics, lines = read_manifest(image_set), MASKS / image_set, {}, []
    for name in load("segment").methods:
        means = write_masks(folder / f"{name}.npz", manifest).mean().to_dict()
        lines.append({"method": name, "images": len(manifest), **means})
        metrics |= {f"{name}_{key}": means[key] for key in ("cell_dice", "nucleus_dice") if key in means}
        say(f"{image_set}, {name}: {len(manifest)} masks", means)
    table = pd.DataFrame(lines)
    write_csv(folder / "scores.csv", table.columns, table.itertuples(index=False))
    mark(folder, image_set)
    write_json(f"{folder}.json", metrics)


def write_masks(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """Write the masks of the method that `path` is named after, and a figure; return the scores of each mask."""
    scores, tasks = [], ((path.stem, row.path, row.sha256, row.mask) for row in manifest.itertuples())

    def masks():
        results = parallel_map(segment, tasks, len(manifest), path.stem)
        for id, (mask, measured) in zip(manifest["id"], results, strict=True):
            scores.append(measured)
            yield id, mask

    write_npz(path, masks())
    if cells := select_cells(manifest, pd.DataFrame(scores)):
        rows = manifest.loc[list(cells.values())]
        images = [read(row.path, row.sha256) for row in rows.itertuples()]
        with np.load(path) as stored:
            figure = panel(images, [stored[id] for id in rows["id"]], list(cells), method(path.stem).NUCLEUS)
        write_jpeg(path.with_suffix(".jpg"), figure)
    return pd.DataFrame(scores)


def select_cells(manifest: pd.DataFrame, scores: pd.DataFrame) -> dict[str, int]:
    """Cells of a figure by title: best, median and worst Dice or, without true masks, one of every second class."""
    if "cell_dice" not in scores:
        train = manifest[manifest["part"] == "train"].drop_duplicates("label")
        return {row.label: row.Index for row in train.itertuples() if row.label in CLASSES[::2]}
    dice = scores["cell_dice"].dropna().sort_values(ascending=False, kind="stable")
    last, titles = max(0, len(dice) - CASES), {}
    for name, first in {"best": 0, "median": last // 2, "worst": last}.items():
        for index, value in dice.iloc[first : first + CASES].items():
            titles[f"{name}: {manifest['id'][index]} {manifest['label'][index]}, cell Dice {value:.3f}"] = index
    return titles
