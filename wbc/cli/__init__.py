"""The commands of `python -m wbc`: a module for each, whose `run` takes the parsed arguments."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from wbc.core.io import rounded, write_csv


def write_table(out: Path | None, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Write a CSV file, or print it if `out` is None."""
    if out:
        write_csv(out, columns, rows)
        print(f"{len(rows)} cells in {out}")
    else:
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *(rounded(list(row)) for row in rows)])
