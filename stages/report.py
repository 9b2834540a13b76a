"""Collect the results: the results table, the report's Tables 1 to 8, and a page with everything, plots/report.html."""

from pathlib import Path

from stages import run
from wbc.config.files import STUDY, load
from wbc.core.io import atomic, write_csv, write_json, write_text
from wbc.core.tables import INGEST, RUNS
from wbc.report import charts, plots, tables
from wbc.report.calibration import calibration_tables
from wbc.report.differences import compare_models
from wbc.report.external import external_scores
from wbc.report.labels import suspects
from wbc.report.page import page
from wbc.report.results import HEADLINES, markdown, read_public_scores, records, results
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
    differences, (errors, curves), external = compare_models(study), calibration_tables(study), external_scores(study)
    best = study.models[study.best_classical[f"{study.blend['features']}-classical"]]
    doubted = suspects(RUNS / f"{best.run}-{study.first}/classical/{best.classifier}.npz")
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
        write_csv(PLOTS / f"{name}.csv", each.columns, records(each))
    printed = tables.all_tables(study, differences, errors, external)
    write_text(PLOTS / "tables.md", tables.markdown(printed))
    write_text(PLOTS / "report.html", page(study, table, printed, curves, external, doubted))
    print(f"{len(table)} models in plots/results.md, all results in plots/report.html")


if __name__ == "__main__":
    run(main)
