"""Checks a submission as strictly as a leaderboard reads it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.tables import SUBMISSION, read_manifest
from wbc.dataset.listing import ListError, read_rows


def read_submission(path: Path) -> list[dict[str, str]]:
    """The rows of a submission, the values as they are: no blanks are stripped. The order of the columns is free.

    Raises:
        ListError: it cannot be read, or has other columns than `ID,labels`.
    """
    header = ",".join(SUBMISSION)
    try:
        lines = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}; expected a CSV file with {header}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ListError(f"{path}: not a CSV file in UTF-8: {error}") from None
    columns, *rows = [line for line in lines if line] or [[]]
    if sorted(columns) != sorted(SUBMISSION):
        raise ListError(f"{path}: the first line is {','.join(columns)!r}; expected {header} and no other column")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ListError(f"{path}: row {number} has {len(row)} values for {len(columns)} columns")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def problems(rows: Sequence[dict[str, str]], expected: Sequence[str]) -> list[str]:
    """What is wrong with a submission's rows, one line per problem. Their order is free.

    Args:
        rows: each with `ID` and `labels`.
        expected: the ids of the test part.
    """
    found, wanted, seen = [], set(expected), set()
    for number, row in enumerate(rows, start=1):
        if row["ID"] in seen:
            found.append(f"row {number}: ID {row['ID']!r} again")
        elif row["ID"] not in wanted:
            found.append(f"row {number}: ID {row['ID']!r} is not in the test part")
        if row["labels"] not in CLASSES:
            found.append(f"row {number}: label {row['labels']!r} is none of {', '.join(CLASSES)}")
        seen.add(row["ID"])
    return found + [f"ID {id!r} is missing" for id in expected if id not in seen]


def expected_ids(sample: Path | None) -> list[str]:
    """The ids a submission must have: those of the sample submission, else of the manifest's test part.

    Raises:
        ListError: the sample is no CSV file with a column `ID`.
        UserError: there is no manifest.
    """
    if sample:
        return list(dict.fromkeys(row["ID"] for row in read_rows(sample, SUBMISSION[:1])))
    try:
        return read_manifest().query("part == 'test'")["id"].tolist()
    except FileNotFoundError:
        raise UserError("no ingested images; run: dvc repro ingest, or name a sample submission by --sample") from None
