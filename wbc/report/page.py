"""The study on one page that needs no network: plots/report.html."""

import base64
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import altair as alt
import jinja2
import numpy as np
import pandas as pd
import vl_convert

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES, NAMES, TABLE_1
from wbc.core.tables import INGEST, RUNS
from wbc.core.tables import MASKS as MASK_FOLDER
from wbc.features import feature_set
from wbc.report import charts
from wbc.report.cells import cells
from wbc.report.differences import rare
from wbc.report.published import CEILING, ROWS
from wbc.report.results import BOUNDED, BOUNDS, HEADINGS, MEASURED, SPREADS, WORDS, lines
from wbc.report.study import LAST, Study
from wbc.report.tables import Table, interval, number, ratio, spread
from wbc.scoring.calibration import BINS
from wbc.statistics import DRAWS, RARE

DOUBTED = 48  # labels
PER_CLASS = 60  # points of a class in the projection: rare classes are seen, and the page stays under 5 MB
CONFUSIONS = {  # figures of the report, by confusion matrix
    "v2-logistic_regression": "Figure 6",
    "v2-knn": "Figure 6",
    "v2-svm_rbf": "Figure 6",
    "v2-random_forest": "Figure 6",
    "v2-adaboost": "Figure 6",
    "v2-gradient_boosting": "Figure 6; on cell masks alone Figure 4",
    "v2-gridsearch": "Figure 7",
    "convnext_restarts": "Figures 9 and 11",
    "final": "Figure 13",
}
CHALLENGE = ("wbcbench", "kaggle")  # sources of the images that the report's scores were measured on
CURVES = {"convnext_restarts": "Figure 10"}  # and by row of the ladder
PROJECTIONS = {"efficientnet": "Figure 8", "convnext_restarts": "Figure 12"}

MASKS = {  # what the page says of a segmentation method
    "hsv": "Figure 3. Otsu on the saturation: the cell alone.",
    "lab": "Figure 5. Otsu twice on the lightness: cell and nucleus.",
    "polar": "Beyond the report: the closed outline that most of the colour's evidence supports.",
}


class Card(NamedTuple):
    """A number at the head of the page."""

    heading: str
    value: str
    note: str


def page(
    study: Study,
    results: pd.DataFrame,
    tables: Sequence[Table],
    reliability: pd.DataFrame,
    external: pd.DataFrame,
    doubted: pd.DataFrame,
) -> str:
    """The page as HTML, with its pictures, data and Vega in it.

    Args:
        study: the results.
        results: `wbc.report.results.results`.
        tables: `wbc.report.tables.all_tables`.
        reliability: curves of `wbc.report.calibrated.calibrated`.
        external: `wbc.report.external.external`.
        doubted: `wbc.report.labels.suspects`.
    """
    best, shown = study.best, results[list(HEADINGS)].dropna(axis="columns", how="all")
    points, projected = points_shown(study.networks, study.first)
    doubted = doubted.head(DOUBTED)
    shown_cells = cells(study, [*projected, *doubted["id"]], study.features[study.blend["features"]])
    specs = {
        "shares": charts.class_shares(study),
        "progression": charts.progression(results),
        "confusion": charts.confusion(study, f"{best}, validation"),
        "importance": charts.importance(pd.read_csv(RUNS / f"v2-{study.first}/gridsearch/importance.csv")),
        "f1": charts.curves(study, best, "f1", "macro F1"),
        "loss": charts.curves(study, best, "loss", "loss"),
        "projection": charts.projection(points, best),
    }
    curves = reliability[reliability["row"] == best]
    if len(curves):
        specs["reliability"] = charts.reliability(curves)
    if len(study.robustness):
        specs["robustness"] = charts.robustness(study)
    if len(external):
        specs["external"] = charts.external(external.rename(columns={"f1_low": "low", "f1_high": "high"}))
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return loader.get_template("page.html").render(
        study=study,
        names=NAMES,
        cards=cards(study, results),
        headings=HEADINGS,
        results=[dict(zip(shown.columns, line, strict=True)) for line in lines(shown)],
        words=WORDS,
        bounds=_bounds(results),
        rare=rare(study),
        few=RARE,
        bins=BINS,
        draws=DRAWS,
        last=LAST,
        ceiling=CEILING,
        reliable=len(curves) > 0,
        changes=changes(results, study),
        tables={table.title.split(":")[0]: table for table in tables},
        tops=_tops(results),
        confusions=CONFUSIONS,
        curves=CURVES,
        projections=PROJECTIONS,
        best=best,
        all_rows=list(dict.fromkeys(row for part in shown_cells["parts"].values() for row in part["rows"])),
        parts={name: len(part["ids"]) for name, part in shown_cells["parts"].items()},
        cells=_script(shown_cells),
        doubted=[(shown_cells["pictures"][line.id], line) for line in doubted.itertuples()],
        contact_sheet=_jpeg(INGEST / STUDY / "contact_sheet.jpg"),
        masks={method: _jpeg(MASK_FOLDER / STUDY / f"{method}.jpg") for method in study.methods},
        mask_notes=MASKS,
        features={name: len(feature_set(name).NAMES) for name in study.features},
        classes=CLASSES,
        challenge=study.source in CHALLENGE,
        per_class=PER_CLASS,
        specs=_script({name: chart.to_dict() for name, chart in specs.items()}),
        vega=vl_convert.javascript_bundle(vl_version=alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]),
    )


def cards(study: Study, results: pd.DataFrame) -> list[Card]:
    """The head of the page: each score with its row, its part and how many images that has."""
    train, test, best = study.images["train"], study.images["test"], study.best
    top = results.loc[results["val_f1"].idxmax()]
    found = [
        Card("Images", f"{train + test:,}", f"{train:,} training, {test:,} test"),
        Card("Imbalance", ratio(study.classes["train"]), f"{ratio(pd.Series(TABLE_1))} in the report"),
    ]
    if top["row"] != best:  # a classical one or a blend
        blended = [model.name for model in study.of_kind("blend")]
        of = "validation part" if top["row"] in blended else "mean of the folds"
        found.append(Card("Highest validation F1 without TTA", number(top["val_f1"]), f"{top['row']}, {of}"))
    images = len(study.confusions[best, "validation"])
    score = number(study.measured[best]["val_f1"])
    found.append(Card("Best network, validation part", score, f"{best}, without TTA, {images:,} images"))
    if (best, "test") in study.confusions:
        images = len(study.confusions[best, "test"])
        plain, tta = (number(study.measured[best][score]) for score in ("test_f1", "test_f1_tta"))
        found.append(Card("The same network, test part", plain, f"without TTA, {images:,} images; {tta} with TTA"))
    if study.source in CHALLENGE:
        found.append(Card("The report's last row", number(ROWS["final"].leaderboard), "on the challenge's leaderboard"))
    return found


def points_shown(rows: Iterable[str], repeat: int) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The projections by row, and the ids shown: as all rows share most images, the first of the largest part's."""
    types = {"id": str, "label": str, "x": float, "y": float}
    tables = {
        row: pd.read_csv(RUNS / f"{row}-{repeat}/embed/points.csv", dtype=types, keep_default_na=False) for row in rows
    }
    shown = max(tables.values(), key=len).groupby("label").head(PER_CLASS)["id"]
    return {row: table[table["id"].isin(shown)] for row, table in tables.items()}, sorted(shown)


def _script(data: dict) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _jpeg(path: Path) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def changes(results: pd.DataFrame, study: Study) -> dict[str, dict[str, float]]:
    """By row and column: how far a number measured here is from that of the row which this row stands on."""
    values = results.set_index("row")[list(MEASURED)]
    base = values.reindex([study.ladder.get(row, {}).get("from") for row in values.index])
    differences = values - base.set_axis(values.index)
    of_other_images = [row for row, changed in study.ladder.items() if "validation" in changed.get("train", {})]
    differences.loc[of_other_images, [name for name in MEASURED if name.startswith("val_")]] = np.nan
    return {row: known.dropna().to_dict() for row, known in differences.iterrows()}


def _bounds(results: pd.DataFrame) -> dict[str, dict[str, str]]:
    """By row and column, the spread over repeats and the interval in words."""

    def words(line: pd.Series, name: str) -> str:
        known = interval(line[f"{name}_low"], line[f"{name}_high"]).strip(" ()") if name in BOUNDED else ""
        return " ".join(filter(None, (spread(line[f"{name}_sd"]).strip(), known)))

    return {line["row"]: {name: words(line, name) for name in MEASURED} for _, line in results.iterrows()}


def _tops(results: pd.DataFrame) -> dict[str, float]:
    """The largest number of each column."""
    return results.drop(columns=[*WORDS, *BOUNDS, *SPREADS]).max().dropna().to_dict()
