"""The study on one page that needs no network: plots/report.html."""

import base64
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import cv2
import jinja2
import numpy as np
import pandas as pd
import vl_convert

from wbc.classes import CLASSES, NAMES, TABLE_1
from wbc.data.pack import resize
from wbc.data.tables import PIXELS, read_manifest
from wbc.features import V1, V2
from wbc.report import charts
from wbc.report.published import ROWS
from wbc.report.results import HEADINGS, lines
from wbc.report.study import DATA, PLOTS, Study
from wbc.report.tables import Table, ratio

PER_CLASS = 60  # points of a class in the projection: rare classes are seen, and the page stays under 5 MB
MISTAKES = 4  # per class
SMALL, LARGE = 64, 112  # pixels a side of thumbnails, in the projection and of mistakes
QUALITY = 70
FIGURES = {  # of the report, by confusion matrix
    "v2-logistic_regression": "Figure 6",
    "v2-knn": "Figure 6",
    "v2-svm_rbf": "Figure 6",
    "v2-random_forest": "Figure 6",
    "v2-adaboost": "Figure 6",
    "v2-gradient_boosting": "Figure 6; on cell masks alone Figure 4",
    "gridsearch": "Figure 7",
    "convnext_restarts": "Figures 9 and 11",
    "final": "Figure 13",
}

MASKS = {  # what the page says of a segmentation method
    "hsv": "Figure 3. Otsu on the saturation: the cell alone.",
    "lab": "Figure 5. Otsu twice on the lightness: cell and nucleus.",
    "polar": "Beyond the report: the closed outline that most of the colour's evidence supports.",
}


class Mistake(NamedTuple):
    """A validation image that a network took for another class."""

    image: str  # a data URL
    actual: str
    predicted: str
    probability: float


class Cell(NamedTuple):
    """A number of the results table and its change from the last one above it, None where there is none."""

    value: float | None
    change: float | None


def page(study: Study, results: pd.DataFrame, tables: Sequence[Table]) -> str:
    """The page as HTML, with its pictures, data and Vega in it."""
    images = Thumbnails()
    best = study.best
    points, thumbnails = points_shown(study.models)
    specs = {
        "shares": charts.class_shares(study),
        "progression": charts.progression(results),
        "confusion": charts.confusion(study, best),
        "importance": charts.importance(pd.read_csv(PLOTS / "gridsearch/importance.csv")),
        "f1": charts.curves(study, best, "f1", "macro F1"),
        "loss": charts.curves(study, best, "loss", "loss"),
        "projection": charts.projection(points, {id: images.url(id, SMALL) for id in thumbnails}, best),
    }
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return loader.get_template("page.html").render(
        study=study,
        names=NAMES,
        ratio=ratio(study.classes["train"]),
        printed_ratio=ratio(pd.Series(TABLE_1)),
        headings=HEADINGS,
        results=_with_changes(results),
        tables={table.title.split(":")[0]: table for table in tables},
        tops=_tops(results),
        figures=FIGURES,
        best=best,
        mistakes=_mistakes(best, images),
        contact_sheet=_jpeg(PLOTS / "contact_sheet.jpg"),
        masks={path.stem: _jpeg(path) for path in sorted(PLOTS.glob("segment/*.jpg"))},
        masks_say=MASKS,
        features=(len(V1), len(V2)),
        classes=CLASSES,
        last=list(ROWS.values())[-1].leaderboard,
        per_class=PER_CLASS,
        specs=json.dumps({name: chart.to_dict() for name, chart in specs.items()}).replace("<", "\\u003c"),
        vega=vl_convert.javascript_bundle(vl_version=alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]),
    )


def points_shown(rows: Iterable[str]) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The projections by row, and the ids shown: as all rows share most images, the first of the largest part's."""
    types = {"id": str, "label": str, "x": float, "y": float}
    tables = {row: pd.read_csv(PLOTS / f"embed/{row}.csv", dtype=types, keep_default_na=False) for row in rows}
    shown = max(tables.values(), key=len).groupby("label").head(PER_CLASS)["id"]
    return {row: table[table["id"].isin(shown)] for row, table in tables.items()}, sorted(shown)


class Thumbnails:
    """Small copies of the packed images, as data URLs."""

    def __init__(self):
        self.packed = np.load(PIXELS, mmap_mode="r")
        self.places = {id: place for place, id in enumerate(read_manifest()["id"])}

    def url(self, id: str, size: int) -> str:
        image = self.packed[self.places[id]]
        if size < len(image):
            image = resize(image, size)
        return _data_url(cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1], "webp")


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _jpeg(path: Path) -> str:
    return _data_url(path.read_bytes(), "jpeg")


def _mistakes(row: str, images: Thumbnails) -> dict[str, list[Mistake]]:
    """By true class, the validation images that a row was surest of while it was wrong."""
    with np.load(DATA / f"predictions/{row}.npz") as stored:
        ids, targets, probabilities = (stored[f"val_{name}"] for name in ("ids", "targets", "probabilities"))
    predicted, certainty = probabilities.argmax(1), probabilities.max(1)
    order = np.argsort(-certainty, kind="stable")
    wrong = order[predicted[order] != targets[order]]
    return {
        label: [
            Mistake(images.url(ids[i], LARGE), label, CLASSES[predicted[i]], float(certainty[i]))
            for i in wrong[targets[wrong] == target][:MISTAKES]
        ]
        for target, label in enumerate(CLASSES)
        if (targets == target).any()
    }


def _with_changes(results: pd.DataFrame) -> list[dict[str, Any]]:
    """The results table's lines, each number with its change."""
    shown = results.dropna(axis="columns", how="all")
    values = shown.drop(columns=["row", "title"])
    changes = (values - values.shift().ffill()).replace(0.0, np.nan)
    cells = [
        dict(zip(values, map(Cell, *line_and_changes), strict=True))
        for line_and_changes in zip(lines(values), lines(changes), strict=True)
    ]
    return [
        {"row": row, "title": title, "cells": of}
        for row, title, of in zip(shown["row"], shown["title"], cells, strict=True)
    ]


def _tops(results: pd.DataFrame) -> dict[str, float]:
    """The largest number of each column."""
    return results.drop(columns=["row", "title"]).max().dropna().to_dict()
