"""The page's cells, one by one: what each row says of them, their picture, their mask, and what misled a network."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES
from wbc.core.tables import RUNS, read_manifest, read_masks, read_pixels
from wbc.dataset.pack import centre_crop, resize
from wbc.report.external import common_classes
from wbc.report.mistakes import SIZE, hardest
from wbc.report.study import HOME, Study
from wbc.scoring.predictions import Predictions
from wbc.statistics import every_pair, patients

QUALITY = 70


class Part(NamedTuple):
    """N cells, whose class is known, that none of the R models was trained on."""

    ids: np.ndarray  # (N,)
    target: np.ndarray  # (N,)
    predicted: Mapping[str, np.ndarray]  # by model, (N,)
    certainty: Mapping[str, np.ndarray]  # by model, (N,): the probability of that class


def parts(study: Study) -> dict[str, Part]:
    """By name: `validation`, the cells that every model was validated on, `test`, and each external set.

    Of the first repeat, without TTA. A classical row is the best of its classifiers; what it says of a validation cell,
    it says trained on the folds that do not have it.
    """
    found = {}
    for name in (*HOME, *study.external):
        models = {row: model.predictions(study.first, name) for row, model in study.compared.items()}
        common = None if name in HOME else common_classes(study, name)
        if part := _common({row: it for row, it in models.items() if it}, common):
            found[name] = part
    return found


def _common(models: Mapping[str, Predictions], classes: np.ndarray | None) -> Part | None:
    """The labelled cells, of the given classes or all, that every model predicted."""
    tables = {row: pd.DataFrame(it.probabilities, it.ids).assign(target=it.target) for row, it in models.items()}
    tables = {
        row: table[table["target"] >= 0 if classes is None else table["target"].isin(classes)]
        for row, table in tables.items()
    }
    if not tables:
        return None
    ids = next(iter(tables.values())).index
    for table in tables.values():
        ids = ids[ids.isin(table.index)]
    if not len(ids):
        return None
    probabilities = {row: table.loc[ids].drop(columns="target").to_numpy() for row, table in tables.items()}
    target = next(iter(tables.values())).loc[ids, "target"].to_numpy()
    predicted = {row: each.argmax(1) for row, each in probabilities.items()}
    return Part(ids.to_numpy(str), target, predicted, {row: each.max(1) for row, each in probabilities.items()})


def cells(study: Study, projected: Iterable[str], masks: str) -> dict[str, Any]:
    """What the page's script takes: JSON of `parts`, pictures, outlines, maps, and the differences of any two models.

    Args:
        study: the results.
        projected: ids of cells that have a picture in any case.
        masks: the segmentation whose outlines are shown.
    """
    found, pictures, outlines, maps = parts(study), {}, {}, {}
    shown = {STUDY: dict.fromkeys(projected)}
    for name, part in found.items():
        ids = part.ids[hardest(part.target, list(part.predicted.values()))].tolist()
        shown[STUDY if name in HOME else name] = shown.get(STUDY if name in HOME else name, {}) | dict.fromkeys(ids)
    manifests = {name: read_manifest(name) for name in shown}
    for name, ids in shown.items():
        places = {id: place for place, id in enumerate(manifests[name]["id"])}
        packed = read_pixels(name)
        with read_masks(name, masks) as stored:
            for id in ids:
                pictures[_key(name, id)] = picture(packed[places[id]])
                outlines[_key(name, id)] = outline(centre_crop(stored[id], study.crop))
    with np.load(RUNS / f"{study.best}-{study.first}/predict/maps.npz") as stored:
        for part in HOME:
            if f"{part}/ids" in stored:
                maps |= {
                    id: base64.b64encode(heat.tobytes()).decode()
                    for id, heat in zip(stored[f"{part}/ids"].tolist(), stored[f"{part}/maps"], strict=True)
                    if id in pictures
                }
    return {
        "classes": list(CLASSES),
        "parts": {
            name: _part(STUDY if name in HOME else name, part, manifests[STUDY if name in HOME else name])
            for name, part in found.items()
        },
        "pictures": pictures,
        "outlines": outlines,
        "maps": maps,
    }


def _key(of: str, id: str) -> str:
    """An image's name on the page: two sets may have the same ids."""
    return id if of == STUDY else f"{of}/{id}"


def _part(of: str, part: Part, manifest: pd.DataFrame) -> dict[str, Any]:
    rows = list(part.predicted)
    group = patients(manifest, part.ids)
    scores, low, high = every_pair(part.target, np.stack([part.predicted[row] for row in rows]), group)
    return {
        "ids": [_key(of, id) for id in part.ids.tolist()],
        "target": part.target.tolist(),
        "rows": {
            row: {
                "predicted": part.predicted[row].tolist(),
                "percent": np.round(100 * part.certainty[row]).astype(int).tolist(),
                "f1": round(score, 4),
                "low": dict(zip(rows, np.round(low[place], 4).tolist(), strict=True)),
                "high": dict(zip(rows, np.round(high[place], 4).tolist(), strict=True)),
            }
            for place, (row, score) in enumerate(zip(rows, scores.tolist(), strict=True))
        },
    }


def picture(image: np.ndarray) -> str:
    """A small copy of (H, W, 3) uint8 RGB, as a data URL."""
    if len(image) > SIZE:
        image = resize(image, SIZE)
    content = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def outline(mask: np.ndarray) -> str:
    """The outlines of cell and nucleus of an (H, W) mask, as an SVG path in percent of the image."""
    found = []
    for inside in (mask > 0, mask == 2):
        contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            line = cv2.approxPolyDP(contour, len(mask) / 150, True)[:, 0] * (100 / np.array(mask.shape[::-1]))
            if len(line) > 2:
                found.append("M" + " ".join(f"{x:.0f},{y:.0f}" for x, y in line) + "Z")
    return "".join(found)
