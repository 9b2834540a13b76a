"""Collect every result: the results table, the report's Tables 1 to 8, and all of it on a page, plots/report.html."""

from stages import run
from wbc.config import load
from wbc.io import atomic, write_csv, write_json, write_text
from wbc.report import charts, overlays, tables
from wbc.report.calibrated import calibrated
from wbc.report.differences import compared
from wbc.report.external import external
from wbc.report.labels import suspects
from wbc.report.page import page
from wbc.report.results import BOUNDS, MEASURED, SPREADS, lines, markdown, read_public_scores, results
from wbc.report.study import DATA, METRICS, PLOTS, read_study


def main() -> None:
    study = read_study(load("configs/report.yaml").model_dump())
    public = read_public_scores(DATA / "public_scores.csv", ["gridsearch", *study.ladder, *study.blends])
    table = results(study, public)
    measured = {
        row: {key: scores[key] for key in (*MEASURED, *BOUNDS, *SPREADS) if key in scores}
        for row, scores in study.measured.items()
    }
    write_json(METRICS / "results.json", measured)
    write_csv(PLOTS / "results.csv", table.columns, lines(table))
    write_text(PLOTS / "results.md", markdown(table))
    with atomic(PLOTS / "results.png") as path:
        path.write_bytes(charts.picture(charts.progression(table)))

    for name, overlay in (("curves", overlays.epochs(study)), ("per_class", overlays.classes(study))):
        write_csv(PLOTS / f"{name}.csv", overlay.columns, lines(overlay))
    best = study.confusions[study.best]
    write_csv(PLOTS / "confusion.csv", best.columns, lines(best))
    differences = compared(study)
    write_csv(PLOTS / "differences.csv", differences.columns, lines(differences))
    errors, curves = calibrated(study)
    write_csv(PLOTS / "calibration.csv", errors.columns, lines(errors))
    write_csv(PLOTS / "reliability.csv", curves.columns, lines(curves))
    elsewhere = external(study)
    write_csv(PLOTS / "external.csv", elsewhere.columns, lines(elsewhere))
    features, _, classifier = study.best_classical[f"classical_{study.blend['features']}"].partition("-")
    doubted = suspects(DATA / f"predictions/{features}-{study.first}.npz", classifier)
    write_csv(PLOTS / "labels.csv", doubted.columns, lines(doubted))
    printed = tables.all_tables(study, differences, errors, elsewhere)
    write_text(PLOTS / "tables.md", tables.markdown(printed))
    write_text(
        PLOTS / "report.html", page(study, table, printed, curves, elsewhere, doubted, load("configs/images.yaml").crop)
    )
    print(f"{len(table)} rows in plots/results.md, the study on a page in plots/report.html")


if __name__ == "__main__":
    run(main)
