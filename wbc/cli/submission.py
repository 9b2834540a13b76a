"""Check a submission as strictly as a leaderboard reads it."""

import csv
import sys
from argparse import Namespace
from io import StringIO

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.tables import SUBMISSION, read_manifest
from wbc.dataset.listing import ListError, read_rows


def run(options: Namespace) -> None:
    """Print one line per problem, with exit status 1, or that there is none. Rows and columns may have any order."""
    path, header, problems, seen = options.file, ",".join(SUBMISSION), [], set()
    try:
        reader = csv.DictReader(StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}; expected a CSV file with {header}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ListError(f"{path}: not a CSV file in UTF-8: {error}") from None
    if sorted(columns := reader.fieldnames or []) != sorted(SUBMISSION):
        raise ListError(f"{path}: the first line is {','.join(columns)!r}; expected {header} and no other column")
    try:
        sample = read_rows(options.sample, SUBMISSION[:1]) if options.sample else None
        expected = read_manifest().query("part == 'test'")["id"] if sample is None else [row["ID"] for row in sample]
    except FileNotFoundError:
        raise UserError("no ingested images; run: dvc repro ingest, or name a sample submission by --sample") from None
    expected = dict.fromkeys(expected)
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ListError(f"{path}: row {number} does not have {len(SUBMISSION)} values")
        id, label = (row[column] for column in SUBMISSION)
        if id in seen:
            problems.append(f"row {number}: ID {id!r} again")
        elif id not in expected:
            problems.append(f"row {number}: ID {id!r} is not in the test part")
        if label not in CLASSES:
            problems.append(f"row {number}: label {label!r} is none of {', '.join(CLASSES)}")
        seen.add(id)
    problems += [f"ID {id!r} is missing" for id in expected if id not in seen]
    print(*problems or [f"{path}: {len(rows)} predictions, complete"], sep="\n")
    if problems:
        sys.exit(1)
