"""Public data, a trained model's use, doubtful labels: `python -m wbc COMMAND`, which --help lists."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from wbc.dataset.public import SETS

MODEL = Path("runs/best-0/model.zip")
PREDICTIONS = Path("runs/v3-0/classical")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wbc", description="Get public data, use a trained model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("fetch", help="download a public set of labelled cells, or say how to")
    command.set_defaults(run=fetch)
    command.add_argument("set", choices=SETS)
    command.add_argument("folder", nargs="?", type=Path, default=Path("data/raw"), help="(default: %(default)s)")
    command = commands.add_parser("classify", help="name the cells of new images")
    command.set_defaults(run=classify)
    command.add_argument("images", nargs="+", help="files, folders or patterns")
    command.add_argument("--model", type=Path, default=MODEL, help="(default: %(default)s)")
    command.add_argument("--tta", action="store_true", help="average over 8 augmented views (report, §7.5)")
    command.add_argument("--out", type=Path, help="write a CSV file instead of printing")
    command.add_argument(
        "--labels", type=Path, help="a list ID,labels to score against (default: the folder's labels.csv)"
    )
    command.add_argument("--explain", type=Path, metavar="FOLDER", help="write LayerCAM overlays there")
    command = commands.add_parser("export", help="write a model as ONNX")
    command.set_defaults(run=export)
    command.add_argument("--model", type=Path, default=MODEL, help="(default: %(default)s)")
    command.add_argument("--out", type=Path, help="(default: the model's name with .onnx)")
    command = commands.add_parser("submission", help="check a submission before a leaderboard does")
    command.set_defaults(run=submission)
    command.add_argument("file", type=Path)
    command.add_argument("--sample", type=Path, help="the sample submission; else the ingested test part decides")
    command = commands.add_parser("label-check", help="list the training cells whose label is most probably wrong")
    command.set_defaults(run=label_check)
    command.add_argument("predictions", nargs="?", type=Path, default=PREDICTIONS, help="(default: %(default)s)")
    command.add_argument("--out", type=Path, help="write a CSV file instead of printing")
    options = parser.parse_args(arguments)

    from wbc.core.errors import UserError

    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    try:
        options.run(options)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'writing the output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def fetch(arguments: argparse.Namespace) -> None:
    """Download, check and unpack a public set."""
    from wbc.cli.fetch import fetch

    fetch(arguments.set, arguments.folder)


def classify(arguments: argparse.Namespace) -> None:
    """One line per image: class, probability, runner-up and what to beware of."""
    from wbc.cli.classify import Classified, find, layer_cam
    from wbc.cli.classify import classify as classified
    from wbc.cli.score import lines, read_labels, score
    from wbc.core.errors import UserError
    from wbc.core.io import check_writable, write_json
    from wbc.dataset.images import decode, write_jpeg
    from wbc.models.model import load
    from wbc.network.inference import choose_device
    from wbc.network.model import NO_TTA, REPORT_TTA

    files, model = find(arguments.images), load(arguments.model)
    labels = read_labels(arguments.images, arguments.labels)
    if not model.network and (arguments.tta or arguments.explain):
        raise UserError(f"{arguments.model}: --tta and --explain need a network; this is a classical model")
    tta = REPORT_TTA if arguments.tta else NO_TTA
    scores = arguments.out.with_suffix(".scores.json") if arguments.out and any(labels.label.values()) else None
    for path in filter(None, (arguments.out, scores, arguments.explain and arguments.explain / "00001.jpg")):
        check_writable(path)
    rows = list(classified(model, files, choose_device(), tta))
    write(arguments.out, Classified._fields, rows)
    if any(labels.label.values()):
        found = score(model, files, rows, labels)
        print(*lines(found), sep="\n", file=sys.stdout if scores else sys.stderr)  # a pipe takes the lines of the table
        if scores:
            write_json(scores, found)
    if arguments.explain:
        for number, (file, row) in enumerate(zip(files, rows, strict=True), 1):
            if row.label:  # numbered, since files of two folders may share a name
                overlay = layer_cam(model.network, decode(file.read_bytes()), row.label)
                write_jpeg(arguments.explain / f"{number:05d}-{file.stem}-{row.label}.jpg", overlay)
    if unread := sum(not row.label for row in rows):
        sys.exit(f"error: {unread} of {len(rows)} files could not be read; the notes say why")


def write(out: Path | None, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """A CSV file, or its lines on the screen."""
    from wbc.core.io import rounded, write_csv

    if out:
        write_csv(out, columns, rows)
        print(f"{len(rows)} cells in {out}")
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rounded(list(row)) for row in rows)


def export(arguments: argparse.Namespace) -> None:
    """Write the model as ONNX."""
    from wbc.cli.export import export_onnx
    from wbc.core.io import check_writable
    from wbc.models.model import load

    out = arguments.out or arguments.model.with_suffix(".onnx")
    check_writable(out)
    export_onnx(load(arguments.model), out)
    print(out)


def submission(arguments: argparse.Namespace) -> None:
    """What is wrong with a submission, one line each; the exit status is 1 if anything is."""
    from wbc.cli.submission import expected_ids, problems, read_submission

    rows = read_submission(arguments.file)
    if found := problems(rows, expected_ids(arguments.sample)):
        print(*found, sep="\n")
        sys.exit(1)
    print(f"{arguments.file}: {len(rows)} predictions, complete")


def label_check(arguments: argparse.Namespace) -> None:
    """One line per suspicious cell: its label, what a model that was not trained on it says, and how surely."""
    from wbc.core.io import check_writable
    from wbc.report.labels import COLUMNS, suspects

    if arguments.out:
        check_writable(arguments.out)
    write(arguments.out, COLUMNS, suspects(arguments.predictions).to_numpy().tolist())


if __name__ == "__main__":
    main()
