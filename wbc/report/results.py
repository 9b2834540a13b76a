"""The results table: every row of the study and of the ladder, published and reproduced, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from wbc.data.listing import read_rows
from wbc.errors import UserError
from wbc.report.published import ROWS, Published
from wbc.report.tables import markdown_table, number

MEASURED = ("val_f1", "val_f1_tta", "test_f1", "test_f1_tta", "test_accuracy")
HEADINGS = {  # of the columns, in words
    "row": "row",
    "title": "",
    "published_val_f1": "report: val F1",
    "published_leaderboard": "leaderboard",
    "val_f1": "here: val F1",
    "val_f1_tta": "val F1 + TTA",
    "test_f1": "test F1",
    "test_f1_tta": "test F1 + TTA",
    "test_accuracy": "test accuracy",
    "public_score": "public score",
}


def read_public_scores(path: Path, rows: Sequence[str]) -> dict[str, float]:
    """Scores that a leaderboard gave submissions, as a person wrote them down: a CSV file of `row,score`.

    Args:
        path: the file; it may hold nothing but its header.
        rows: which rows there are.

    Raises:
        UserError: no such row, a row twice, or no number from 0 to 1.
        ListError: no CSV file with these columns.
    """
    scores = {}
    for place, line in enumerate(read_rows(path, ("row", "score")), start=1):
        row = line["row"]
        if row not in rows or row in scores:
            raise UserError(f"{path}, row {place}: {row!r} is {'listed twice' if row in scores else 'no row'}")
        try:
            scores[row] = float(line["score"])
        except ValueError:
            scores[row] = -1.0
        if not 0 <= scores[row] <= 1:
            raise UserError(f"{path}, row {place}: score {line['score']!r} should be a number from 0 to 1")
    return scores


def results(
    measured: Mapping[str, Mapping[str, float]], rows: Sequence[str], public: Mapping[str, float] = MappingProxyType({})
) -> pd.DataFrame:
    """One line per row, with the columns of `HEADINGS`: the report's, and after them those only the ladder has.

    Args:
        measured: by row, the values that exist of `MEASURED`.
        rows: the ladder's rows.
        public: by row, the score that a leaderboard gave.

    Returns:
        The columns after `title` are float, NaN where there is no number.
    """
    if "convnext_restarts" in measured:  # the report lists this row's TTA as a row of its own
        tta = {key: value for key, value in measured["convnext_restarts"].items() if key.endswith("tta")}
        measured = {**measured, "convnext_restarts_tta": tta}
    entries = []
    for name in [*ROWS, *(row for row in rows if row not in ROWS)]:
        published = ROWS.get(name, Published(name))
        known = {"published_val_f1": published.val_f1, "published_leaderboard": published.leaderboard}
        scores = {**measured.get(name, {}), "public_score": public.get(name)}
        entries.append({"row": name, "title": published.title, **known, **scores})
    table = pd.DataFrame(entries, columns=list(HEADINGS))
    return table.astype(dict.fromkeys(table.columns[2:], float))


def markdown(table: pd.DataFrame) -> str:
    """The results as Markdown, `–` where there is no number; a column without any is left out."""
    shown = table.dropna(axis="columns", how="all")
    cells = shown.assign(row="`" + shown["row"] + "`", **{name: shown[name].map(number) for name in shown.columns[2:]})
    return markdown_table(cells.rename(columns=HEADINGS), words=2) + "\n"


def lines(table: pd.DataFrame) -> list[list[Any]]:
    """A table's lines, None where there is no number."""
    return table.astype(object).where(table.notna(), None).to_numpy().tolist()
