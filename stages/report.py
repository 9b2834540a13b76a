"""Collect every metric into the results table: metrics/results.json, plots/results.csv and plots/results.md."""

import json
from pathlib import Path

from stages import run
from wbc.config import load
from wbc.io import write_csv, write_json, write_text
from wbc.report import COLUMNS, MEASURED, markdown, table

METRICS = Path("metrics")


def read(path: Path) -> dict[str, float]:
    return json.loads(path.read_text())


def main() -> None:
    rows = load("configs/report.yaml")["rows"]
    measured = {row: read(METRICS / "predict" / f"{row}.json") for row in rows}
    measured["gridsearch"] = read(METRICS / "gridsearch.json")
    for features in ("v1", "v2"):
        scores = [read(path) for path in sorted(METRICS.glob(f"classical/{features}-*.json"))]
        measured[f"classical_{features}"] = {"val_f1": max(score["f1"] for score in scores)}

    result = table(measured, rows)
    found = {row["row"]: {key: row[key] for key in MEASURED if row[key] is not None} for row in result}
    write_json(METRICS / "results.json", {name: values for name, values in found.items() if values})
    write_csv("plots/results.csv", COLUMNS, [list(row.values()) for row in result])
    write_text("plots/results.md", markdown(result))
    print("the results table is in plots/results.md")


if __name__ == "__main__":
    run(main)
