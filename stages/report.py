"""Collect every result: the table (plots/results.*), the report's Tables 1 to 8 (plots/tables.md) and a page."""

import vl_convert

from stages import run
from wbc.config import load
from wbc.io import atomic, write_csv, write_json, write_text
from wbc.report.charts import progression
from wbc.report.page import page
from wbc.report.results import MEASURED, markdown, read_public_scores, results
from wbc.report.study import DATA, METRICS, PLOTS, read_study
from wbc.report.tables import all_tables
from wbc.report.tables import markdown as tables_markdown


def main() -> None:
    study = read_study(load("configs/report.yaml"))
    scores = read_public_scores(DATA / "public_scores.csv", ["gridsearch", *study.models])
    measured = {row: {**values, **({"public_score": scores[row]} if row in scores else {})} for row, values in study.measured.items()}
    table = results(measured, list(study.models))
    found = {line.row: {key: getattr(line, key) for key in MEASURED if getattr(line, key) == getattr(line, key)} for line in table.itertuples()}
    write_json(METRICS / "results.json", {name: values for name, values in found.items() if values})
    write_csv(PLOTS / "results.csv", table.columns, table.astype(object).where(table.notna(), None).to_numpy().tolist())
    write_text(PLOTS / "results.md", markdown(table))
    tables = all_tables(study)
    write_text(PLOTS / "tables.md", tables_markdown(tables))
    write_text(PLOTS / "report.html", page(study, table, tables))
    with atomic(PLOTS / "results.png") as path:
        path.write_bytes(vl_convert.vegalite_to_png(progression(table).properties(width=720).to_dict(), scale=1.5))
    print(f"{len(table)} rows in plots/results.md, the study on a page in plots/report.html")


if __name__ == "__main__":
    run(main)
