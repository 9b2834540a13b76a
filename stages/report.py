"""Collect the results: the results table, the report's Tables 1 to 8, and a page with everything, plots/report.html."""

from pathlib import Path

from wbc.config.files import STUDY, load
from wbc.core.io import atomic, write_csv, write_json, write_text
from wbc.core.tables import INGEST, RUNS
from wbc.report import charts, plots, tables
from wbc.report.calibration import calibration_tables
from wbc.report.differences import compare_models
from wbc.report.external import external_scores
from wbc.report.labels import suspects
from wbc.report.page import page
from wbc.report.results import HEADLINES, markdown, read_public_scores, results
from wbc.report.study import Study

METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    study = Study(**{key: value for key, value in vars(load("report")).items() if key != "compute"})
    for model in study.compared.values():
        for repeat in study.repeats:
            model.check(repeat, study.external)
    table = results(study, read_public_scores(Path("data/public_scores.csv"), list(study.measured)))
    scores = {row: {key: each[key] for key in HEADLINES if key in each} for row, each in study.measured.items()}
    differences, (errors, curves), external = compare_models(study), calibration_tables(study), external_scores(study)
    best = study.models[study.best_classical[f"{study.blend['features']}-classical"]]
    doubted = suspects(RUNS / f"{best.run}-{study.first}/classical/{best.classifier}.npz")
    printed = tables.all_tables(study, differences, errors, external)
    written = {
        "results": table,
        "curves": plots.epochs(study),
        "per_class": plots.classes(study),
        "confusion": plots.confusion(study),
        "differences": differences,
        "calibration": errors,
        "reliability": curves,
        "external": external,
        "labels": doubted,
        "classes": study.classes.rename_axis("label").reset_index(),
    }
    for name, each in written.items():
        lines = each.astype(object).where(each.notna(), None)  # missing values are empty cells
        write_csv(PLOTS / f"{name}.csv", each.columns, lines.to_numpy().tolist())
    images = {"contact_sheet.jpg": (INGEST / STUDY / "contact_sheet.jpg").read_bytes()}
    images["results.png"] = charts.picture(charts.progression(table))
    for name, content in images.items():
        with atomic(PLOTS / name) as path:
            path.write_bytes(content)
    write_json(METRICS / "results.json", scores)
    write_text(PLOTS / "results.md", markdown(table))
    write_text(PLOTS / "tables.md", tables.markdown(printed))
    write_text(PLOTS / "report.html", page(study, table, printed, curves, external, doubted))
    print(f"{len(table)} models in plots/results.md, all results in plots/report.html")
