"""List the training cells whose label is most probably wrong."""

from argparse import Namespace

from wbc.cli import write_table
from wbc.core.io import check_writable
from wbc.report.labels import COLUMNS, suspects


def run(options: Namespace) -> None:
    if options.out:
        check_writable(options.out)
    write_table(options.out, COLUMNS, suspects(options.predictions).to_numpy().tolist())
