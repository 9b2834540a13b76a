"""The page's cells, one by one: what each row says of them, their picture, their mask, and what misled a network."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.data.pack import middle, resize
from wbc.data.tables import PIXELS, read_manifest
from wbc.evaluate.intervals import every_pair, patients
from wbc.evaluate.mistakes import SIZE, hardest
from wbc.report.study import DATA, Said, Study, said

QUALITY = 70
HOME = {"validation": "val", "test": "test"}  # parts, and what their arrays are called


class Part(NamedTuple):
    """N cells, whose class is known, that none of the R rows was trained on."""

    ids: np.ndarray  # (N,)
    target: np.ndarray  # (N,)
    predicted: Mapping[str, np.ndarray]  # by row, (N,)
    certainty: Mapping[str, np.ndarray]  # by row, (N,): the probability of that class


def parts(study: Study) -> dict[str, Part]:
    """By name: `validation`, the cells that every row was validated on, `test`, and each other laboratory.

    Of the first repeat, without TTA. A classical row is the best of its classifiers; what it says of a validation cell,
    it says trained on the folds that do not have it.
    """
    files = {**study.best_classical, "gridsearch": "gridsearch", **{row: row for row in [*study.models, *study.blends]}}
    found = {name: {row: said(file, study.first, part) for row, file in files.items()} for name, part in HOME.items()}
    for name in study.external:
        found[name] = dict(_elsewhere(name, study.first, {file: row for row, file in files.items()}))
    return {name: part for name, rows in found.items() if (part := _common(rows))}


def _elsewhere(name: str, repeat: int, rows: Mapping[str, str]) -> Iterator[tuple[str, Said]]:
    with np.load(DATA / f"predictions/external/{name}-{repeat}.npz") as stored:
        if "ids" not in stored:
            return
        both = np.isin(stored["targets"], stored["common"])
        for file, row in rows.items():
            if file in stored:
                yield row, Said(stored["ids"][both], stored["targets"][both], stored[file][both])


def _common(rows: Mapping[str, Said | None]) -> Part | None:
    """The labelled cells that all rows have something to say of."""
    tables = {row: pd.DataFrame(it.probabilities, it.ids).assign(target=it.target) for row, it in rows.items() if it}
    tables = {row: table[table["target"] >= 0] for row, table in tables.items()}
    if not tables:
        return None
    ids = next(iter(tables.values())).index
    for table in tables.values():
        ids = ids[ids.isin(table.index)]
    if not len(ids):
        return None
    chances = {row: table.loc[ids].drop(columns="target").to_numpy() for row, table in tables.items()}
    target = next(iter(tables.values())).loc[ids, "target"].to_numpy()
    predicted = {row: each.argmax(1) for row, each in chances.items()}
    return Part(ids.to_numpy(str), target, predicted, {row: each.max(1) for row, each in chances.items()})


def cells(study: Study, projected: Iterable[str], masks: str, crop: float) -> dict[str, Any]:
    """What the page's script takes: JSON of `parts`, pictures, outlines, maps, and the differences of any two rows.

    Args:
        study: the results.
        projected: ids of cells that have a picture in any case.
        masks: the segmentation whose outlines are shown.
        crop: `middle` share of an image that was packed.
    """
    manifest, found = read_manifest(), parts(study)
    pictures, outlines, maps = {}, {}, {}
    at_home = dict.fromkeys(projected)
    for part in (found[name] for name in HOME if name in found):
        at_home |= dict.fromkeys(part.ids[hardest(part.target, list(part.predicted.values()))].tolist())
    places = {id: place for place, id in enumerate(manifest["id"])}
    packed = np.load(PIXELS, mmap_mode="r")
    with np.load(DATA / f"masks/{masks}.npz") as stored:
        for id in at_home:
            pictures[id] = picture(packed[places[id]])
            outlines[id] = outline(middle(stored[id], crop))
    for name in study.external:
        with np.load(DATA / f"predictions/external/{name}-{study.first}.npz") as stored:
            if name in found:
                shown = zip(stored["shown_ids"], stored["shown"], strict=True)
                pictures |= {f"{name}/{id}": picture(image) for id, image in shown}
    with np.load(DATA / f"evidence/{study.best}-{study.first}.npz") as stored:
        for part in HOME.values():
            if f"{part}_ids" in stored:
                maps |= {
                    id: base64.b64encode(heat.tobytes()).decode()
                    for id, heat in zip(stored[f"{part}_ids"].tolist(), stored[f"{part}_maps"], strict=True)
                    if id in pictures
                }
    return {
        "classes": list(CLASSES),
        "parts": {
            name: _part(name, part, _groups(name, part.ids, manifest, study.first)) for name, part in found.items()
        },
        "pictures": pictures,
        "outlines": outlines,
        "maps": maps,
    }


def _groups(name: str, ids: np.ndarray, manifest: pd.DataFrame, repeat: int) -> np.ndarray | None:
    """(N,) whose cell each is, None where nobody knows."""
    if name in HOME:
        return patients(manifest, ids)
    with np.load(DATA / f"predictions/external/{name}-{repeat}.npz") as stored:
        return pd.Series(stored["groups"], stored["ids"]).loc[ids].to_numpy() if "groups" in stored else None


def _part(name: str, part: Part, group: np.ndarray | None) -> dict[str, Any]:
    rows = list(part.predicted)
    scores, low, high = every_pair(part.target, np.stack([part.predicted[row] for row in rows]), group)
    return {
        "ids": part.ids.tolist() if name in HOME else [f"{name}/{id}" for id in part.ids],
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
