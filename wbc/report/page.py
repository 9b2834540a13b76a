"""The study on one page that needs no network: plots/report.html."""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import altair as alt
import jinja2
import pandas as pd
import vl_convert

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES, NAMES, TABLE_1
from wbc.core.tables import INGEST, RUNS
from wbc.core.tables import MASKS as MASK_FOLDER
from wbc.report import charts
from wbc.report.cells import cells
from wbc.report.differences import rare_classes
from wbc.report.published import FIGURES, ROWS
from wbc.report.results import EXTRA, HEADINGS, WORDS
from wbc.report.study import Study
from wbc.report.tables import Table, imbalance, is_text, number, spread

DOUBTED = 48  # labels
PER_CLASS = 60  # points of a class in the projection, which keeps the page below 5 MB
CHALLENGE = ("wbcbench", "kaggle")  # sources of the images that the report's scores were measured on


def page(
    study: Study,
    results: pd.DataFrame,
    tables: Mapping[str, Table],
    reliability: pd.DataFrame,
    external: pd.DataFrame,
    doubted: pd.DataFrame,
) -> str:
    """The page as HTML with its pictures, data and scripts; the tables are those that the report's modules return."""
    best, winner = study.best_network, study.compared[study.winner].name
    matrix = f"{winner}, {'test' if (winner, 'test') in study.confusions else 'validation'}"
    calibrated = winner if winner in set(reliability["row"]) else best
    points, projected = projection_points(study.networks, study.first)
    doubted = doubted.head(DOUBTED)
    shown_cells = cells(study, [*projected, *doubted["id"]], study.features[study.blend["features"]])
    specs = {
        "fractions": charts.class_fractions(study),
        "progression": charts.progression(results),
        "confusion": charts.confusion(study, matrix),
        "importance": charts.importance(pd.read_csv(RUNS / f"v2-{study.first}/gridsearch/importance.csv")),
        "f1": charts.curves(study, best, "f1"),
        "loss": charts.curves(study, best, "loss"),
        "projection": charts.projection(points, best),
    }
    curves = reliability[reliability["row"] == calibrated]
    if len(curves):
        specs["reliability"] = charts.reliability(curves)
    if len(study.robustness):
        specs["robustness"] = charts.robustness(study)
    if len(external):
        specs["external"] = charts.external(external)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals |= {"number": number, "spread": spread, "is_text": is_text}
    numbers = results.drop(columns=list(WORDS)).dropna(axis="columns", how="all")
    return environment.get_template("page.html").render(
        study=study,
        names=NAMES,
        cards=cards(study, results),
        results=results.to_dict("records"),
        headings={name: heading for name, heading in (HEADINGS | EXTRA).items() if name in numbers},
        highest=numbers.max().to_dict(),
        rare=rare_classes(study),
        calibrated=calibrated,
        tables=tables,
        figures=FIGURES,
        matrix=matrix,
        best=best,
        models=list(dict.fromkeys(model for part in shown_cells["parts"].values() for model in part["models"])),
        parts={name: len(part["ids"]) for name, part in shown_cells["parts"].items()},
        cells=_script(shown_cells),
        doubted=[(shown_cells["pictures"][line.id], line) for line in doubted.itertuples()],
        contact_sheet=_jpeg(INGEST / STUDY / "contact_sheet.jpg"),
        masks={method: _jpeg(MASK_FOLDER / STUDY / f"{method}.jpg") for method in study.methods},
        classes=CLASSES,
        challenge=study.source in CHALLENGE,
        charts=list(specs),
        specs=_script({name: chart.to_dict() for name, chart in specs.items()}),
        vega=vl_convert.javascript_bundle(vl_version=alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]),
    )


def cards(study: Study, results: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Heading, value and note of the numbers at the head of the page, beside the best model's test score."""
    table, counts, images = results.set_index("row"), study.classes["train"], study.manifest["part"].value_counts()
    best, network = table.loc[study.winner], table.loc[study.best_network]
    found = []
    for name, heading in {"test_f1_tta": "Test F1 with TTA", "test_accuracy": "Test accuracy"}.items():
        if pd.notna(best[name]):
            note = f"95% interval {best[f'{name}_low']:.3f} to {best[f'{name}_high']:.3f}"
            found.append((heading, number(best[name]), note))
    note = f"{images.get('train', 0):,} for training, {images.get('test', 0):,} for testing"
    note += f"; {(counts > 0).sum()} classes; imbalance {imbalance(counts)} (report: {imbalance(pd.Series(TABLE_1))})"
    found.append(("Validation F1", number(best["val_f1"]), "the highest of all models"))
    found.append(("Images", f"{images.sum():,}", note))
    if study.winner != study.best_network:
        tested = f", test F1 {number(network['test_f1'])}" if pd.notna(network["test_f1"]) else ""
        found.append(("Best network", study.best_network, f"validation F1 {number(network['val_f1'])}{tested}"))
    if study.source in CHALLENGE:
        found.append(("Best in the report", number(ROWS["final"].leaderboard), "leaderboard F1 of its last row"))
    return found


def projection_points(rows: Iterable[str], repeat: int) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The t-SNE of each row and the ids that are shown: `PER_CLASS` of each class from the largest validation part."""
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
