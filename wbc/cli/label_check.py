"""List the training cells whose label is most probably wrong."""

from argparse import Namespace

from wbc.cli import write_table
from wbc.core.io import check_writable
from wbc.report.labels import suspects


def run(options: Namespace) -> None:
    if options.out:
        check_writable(options.out)
    table = suspects(options.predictions)
    write_table(options.out, list(table.columns), table.to_numpy().tolist())
