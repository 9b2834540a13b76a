"""Checks a submission before a leaderboard does."""

from collections.abc import Sequence
from pathlib import Path

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.tables import MANIFEST, SUBMISSION, read_manifest
from wbc.dataset.listing import read_rows


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


def expected_ids(sample: Path | None) -> list[str]:
    """The ids a submission must have, in order: those of the sample submission, else of the manifest's test part.

    Raises:
        ListError: the sample is no CSV file with a column `ID`.
        UserError: there is no manifest.
    """
    if sample:
        return list(dict.fromkeys(row["ID"] for row in read_rows(sample, SUBMISSION[:1])))
    try:
        return read_manifest().query("part == 'test'")["id"].tolist()
    except FileNotFoundError:
        raise UserError(
            f"{MANIFEST}: no such file; run: dvc repro ingest, or name a sample submission by --sample"
        ) from None
