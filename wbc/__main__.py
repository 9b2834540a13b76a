"""`python -m wbc COMMAND`: get public data, use a trained model, find doubtful labels. Commands are in `wbc/cli/`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from wbc.core.errors import UserError
from wbc.dataset.public import SETS

DEFAULT = "(default: %(default)s)"
MODEL = {"type": Path, "default": Path("runs/best-0/model.zip"), "help": DEFAULT}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wbc", description="Get public data, use a trained model.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("fetch", help="download a public set of labelled cells, or say how to")
    command.add_argument("set", choices=SETS)
    command.add_argument("folder", nargs="?", type=Path, default=Path("data/raw"), help=DEFAULT)
    command = commands.add_parser("classify", help="classify the cells of new images")
    command.add_argument("images", nargs="+", help="files, folders or patterns")
    command.add_argument("--model", **MODEL)
    command.add_argument("--tta", action="store_true", help="average over 8 augmented views (report, §7.5)")
    command.add_argument("--out", type=Path, help="write a CSV file instead of printing")
    command.add_argument("--html", type=Path, help="write a page with the cells, to sort and filter, and their counts")
    command.add_argument("--labels", type=Path, help="list ID,labels to score with (default: the folder's labels.csv)")
    command.add_argument("--explain", type=Path, metavar="FOLDER", help="write LayerCAM overlays there")
    command = commands.add_parser("export", help="write a model as ONNX")
    command.add_argument("--model", **MODEL)
    command.add_argument("--out", type=Path, help="(default: the model's name with .onnx)")
    command = commands.add_parser("submission", help="check a submission before a leaderboard does")
    command.add_argument("file", type=Path)
    command.add_argument("--sample", type=Path, help="the sample submission (default: the ingested test part)")
    command = commands.add_parser("label-check", help="list the training cells whose label is most probably wrong")
    command.add_argument("predictions", nargs="?", type=Path, default=Path("runs/v3-0/classical"), help=DEFAULT)
    command.add_argument("--out", type=Path, help="write a CSV file instead of printing")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be UTF-8
    try:
        import_module(f"wbc.cli.{options.command.replace('-', '_')}").run(options)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'writing the output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
