"""Collect every result: the results table, the report's Tables 1 to 8, and all of it on a page, plots/report.html."""

from pathlib import Path

import pandas as pd

from stages import run
from wbc.config.files import STUDY, load
from wbc.core.io import atomic, write_csv, write_json, write_text
from wbc.core.tables import INGEST
from wbc.report import charts, overlays, tables
from wbc.report.calibrated import calibrated
from wbc.report.differences import compared
from wbc.report.external import external
from wbc.report.labels import suspects
from wbc.report.page import page
from wbc.report.results import HEADLINES, lines, markdown, read_public_scores, results
from wbc.report.study import METRICS, PLOTS, Study


def main() -> None:
    settings = vars(load("report"))
    del settings["compute"]
    study = Study(**settings)
    for model in study.compared.values():
        for repeat in study.repeats:
            model.check(repeat, study.external)
    table = results(study, read_public_scores(Path("data/public_scores.csv"), list(study.measured)))
    headlines = {
        row: {key: scores[key] for key in HEADLINES if key in scores} for row, scores in study.measured.items()
    }
    write_json(METRICS / "results.json", headlines)
    write_text(PLOTS / "results.md", markdown(table))
    with atomic(PLOTS / "contact_sheet.jpg") as path:
        path.write_bytes((INGEST / STUDY / "contact_sheet.jpg").read_bytes())
    with atomic(PLOTS / "results.png") as path:
        path.write_bytes(charts.picture(charts.progression(table)))
    differences, (errors, curves), elsewhere = compared(study), calibrated(study), external(study)
    best = study.best_classical[f"{study.blend['features']}-classical"]
    model = study.models[best]
    doubted = suspects(model.folder(study.first) / f"classical/{model.classifier}.npz")
    written = {
        "results": table,
        "curves": overlays.epochs(study),
        "per_class": overlays.classes(study),
        "confusion": study.confusions[study.best, "validation"],
        "differences": differences,
        "calibration": errors,
        "reliability": curves,
        "external": elsewhere,
        "labels": doubted,
        "classes": study.classes.rename_axis("label").reset_index(),
    }
    for name, each in written.items():
        write_csv(PLOTS / f"{name}.csv", each.columns, lines(pd.DataFrame(each)))
    printed = tables.all_tables(study, differences, errors, elsewhere)
    write_text(PLOTS / "tables.md", tables.markdown(printed))
    write_text(PLOTS / "report.html", page(study, table, printed, curves, elsewhere, doubted))
    print(f"{len(table)} rows in plots/results.md, the study on a page in plots/report.html")


if __name__ == "__main__":
    run(main)
