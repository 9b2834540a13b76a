"""The results table: every row of the study and of the ladder, published and reproduced, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from wbc.core.errors import UserError
from wbc.dataset.listing import read_rows
from wbc.report.published import ROWS, Published
from wbc.report.study import LAST, Study
from wbc.report.tables import ABSENT, interval, markdown_table, number, spread
from wbc.report.titles import titles

BOUNDED = ("test_f1", "test_f1_common", "test_f1_tta", "test_accuracy")  # what has a 95% interval
BOUNDS = tuple(f"{name}_{end}" for name in BOUNDED for end in ("low", "high"))
MEASURED = ("val_f1", "val_f1_last", "val_f1_tta", *BOUNDED)
SPREADS = tuple(f"{name}_sd" for name in MEASURED)  # over repeats, where there are any
HEADLINES = ("val_f1", "val_f1_tta", "test_f1", "test_f1_tta")  # in the metrics file, for `dvc metrics diff`
HEADINGS = {  # of the columns, in words: what was measured here, then what the report prints
    "row": "row",
    "title": "here",
    "val_f1": "val F1",
    "val_f1_last": f"last {LAST} epochs",
    "val_f1_tta": "val F1 + TTA",
    "test_f1": "test F1",
    "test_f1_common": "without rare classes",
    "test_f1_tta": "test F1 + TTA",
    "test_accuracy": "test accuracy",
    "public_score": "public score",
    "published_title": "in the report",
    "published_val_f1": "report: val F1",
    "published_leaderboard": "report: leaderboard",
}
COLUMNS = (*HEADINGS, *BOUNDS, *SPREADS)
WORDS = ("row", "title", "published_title")  # the columns that hold no numbers


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


def results(study: Study, public: Mapping[str, float] = MappingProxyType({})) -> pd.DataFrame:
    """One line per row, with the columns `COLUMNS`: the report's rows, and after them those that somebody added.

    Args:
        study: what the stages wrote.
        public: by row, the score that a leaderboard gave.

    Returns:
        All columns but `WORDS` are float; what there is not is NaN.
    """
    here, measured = titles(study), dict(study.measured)
    if "convnext_restarts" in measured:  # the report lists this row's TTA as a row of its own
        scores = measured["convnext_restarts"].items()
        measured["convnext_restarts-tta"] = {key: value for key, value in scores if "_tta" in key}
    entries = []
    for name in [*(row for row in ROWS if row in measured), *(row for row in measured if row not in ROWS)]:
        published = ROWS.get(name, Published())
        entry = {"row": name, "title": here.get(name), **{f"published_{k}": v for k, v in published._asdict().items()}}
        entries.append(entry | measured.get(name, {}) | {"public_score": public.get(name)})
    table = pd.DataFrame(entries, columns=list(COLUMNS))
    return table.astype({name: float for name in table.columns if name not in WORDS})


def markdown(table: pd.DataFrame) -> str:
    """The results as Markdown, `–` where there is nothing; a column without any number is left out."""
    cells = table[list(HEADINGS)].dropna(axis="columns", how="all").assign(row="`" + table["row"] + "`")
    for name in cells.columns:
        cells[name] = cells[name].fillna(ABSENT) if name in WORDS else cells[name].map(number)
        if name in MEASURED:
            cells[name] += table[f"{name}_sd"].map(spread)
        if name in BOUNDED:
            cells[name] += table[[f"{name}_low", f"{name}_high"]].apply(lambda ends: interval(*ends), axis=1)
    words = [cells.columns.get_loc(name) for name in WORDS]
    return markdown_table(cells.rename(columns=HEADINGS), words) + "\n"


def lines(table: pd.DataFrame) -> list[list[Any]]:
    """A table's lines, None where there is nothing."""
    return table.astype(object).where(table.notna(), None).to_numpy().tolist()
