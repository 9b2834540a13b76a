"""Checks a submission before a leaderboard does: `python -m wbc.submission FILE [--sample FILE]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wbc.classes import CLASSES
from wbc.data.listing import read_rows
from wbc.data.tables import MANIFEST, SUBMISSION, read_manifest
from wbc.errors import UserError


def problems(rows: Sequence[dict[str, str]], expected: Sequence[str]) -> list[str]:
    """What is wrong with a submission's rows, one line per problem.

    Args:
        rows: each with `ID` and `labels`.
        expected: the ids of the test part, in the order wanted.
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
    found += [f"ID {id!r} is missing" for id in expected if id not in seen]
    if not found:
        pairs = zip(rows, expected, strict=True)
        moved = next(((n, row["ID"], id) for n, (row, id) in enumerate(pairs, start=1) if row["ID"] != id), None)
        found = [f"row {moved[0]}: ID {moved[1]!r} where {moved[2]!r} is expected: another order"] if moved else []
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the problems of a submission; the exit status is 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m wbc.submission", description="Check a submission.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--sample", type=Path, help=f"the sample submission; else the test part of {MANIFEST} decides")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.file, SUBMISSION)
        if options.sample:
            expected = [row["ID"] for row in read_rows(options.sample, SUBMISSION[:1])]
        else:
            expected = read_manifest().query("part == 'test'")["id"].tolist()
    except UserError as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError:
        sys.exit(f"error: {MANIFEST}: no such file; run: dvc repro ingest, or name a sample submission by --sample")
    if found := problems(rows, expected):
        print(*found, sep="\n")
        sys.exit(1)
    print(f"{options.file}: {len(rows)} predictions, complete and in order")


if __name__ == "__main__":
    main()
