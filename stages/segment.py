"""Segment every image of one image set by each method, into data/masks/<set>/<method>.npz."""

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

CASES = 2  # cells in the figure of the best, median and worst Dice each


def segment(name: str, path: str, sha256: str, truth: str) -> tuple[np.ndarray, dict[str, float]]:
    """A mask, and its scores against the true mask if there is one."""
    mask, nucleus = method(name).segment(read(path, sha256)), method(name).NUCLEUS
    agreement = score(mask, read_mask(truth, mask.shape), nucleus) if truth else {}
    return mask, {"failed": failed(mask, nucleus), **agreement}


def main(image_set: str) -> None:
    manifest, metrics, lines = read_manifest(image_set), {}, []
    for name in load("segment").methods:
        scores = write_masks(image_set, name, manifest)
        means = scores.mean().to_dict()
        lines.append({"method": name, "images": len(manifest), **means})
        metrics |= {f"{name}_{key}": means[key] for key in ("cell_dice", "nucleus_dice") if key in means}
        say(f"{image_set}, {name}: {len(manifest)} masks", means)
    table = pd.DataFrame(lines)
    write_csv(MASKS / image_set / "scores.csv", table.columns, table.itertuples(index=False))
    mark(MASKS / image_set, image_set)
    write_json(MASKS / f"{image_set}.json", metrics)


def write_masks(image_set: str, name: str, manifest: pd.DataFrame) -> pd.DataFrame:
    """Write one method's masks and their figure, and return the scores of each mask."""
    path, scores = MASKS / image_set / f"{name}.npz", []
    tasks = ((name, row.path, row.sha256, row.mask) for row in manifest.itertuples())

    def masks():
        for id, (mask, measured) in zip(manifest["id"], parallel_map(segment, tasks, len(manifest), name), strict=True):
            scores.append(measured)
            yield id, mask

    write_npz(path, masks())
    scores = pd.DataFrame(scores)
    if titles := chosen(manifest, scores):
        rows = manifest.loc[list(titles.values())]
        with np.load(path) as stored:
            images, masks = [read(row.path, row.sha256) for row in rows.itertuples()], [stored[id] for id in rows["id"]]
        write_jpeg(path.with_suffix(".jpg"), panel(images, masks, list(titles), method(name).NUCLEUS))
    return scores


def chosen(manifest: pd.DataFrame, scores: pd.DataFrame) -> dict[str, int]:
    """The images of a figure by title: best, median and worst Dice or, without true masks, every second class."""
    if "cell_dice" not in scores:
        train = manifest[manifest["part"] == "train"].drop_duplicates("label")
        return {row.label: row.Index for row in train.itertuples() if row.label in CLASSES[::2]}
    dice = scores["cell_dice"].dropna().sort_values(ascending=False, kind="stable")
    last = max(0, len(dice) - CASES)
    return {
        f"{name}: {manifest['id'][index]} {manifest['label'][index]}, cell Dice {value:.3f}": index
        for name, first in {"best": 0, "median": last // 2, "worst": last}.items()
        for index, value in dice.iloc[first : first + CASES].items()
    }
