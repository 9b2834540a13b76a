"""Use a trained model: `python -m wbc classify IMAGES…`, `python -m wbc export`."""

import argparse
import csv
import sys
from pathlib import Path

MODEL = Path("models/final.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m wbc", description="Use a trained model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("classify", help="name the cells of new images")
    command.set_defaults(run=classify)
    command.add_argument("images", nargs="+", help="files, folders or patterns")
    command.add_argument("--model", type=Path, default=MODEL, help="(default: %(default)s)")
    command.add_argument("--tta", action="store_true", help="average over augmented views: slower, steadier")
    command.add_argument("--out", type=Path, help="write a CSV file instead of printing")
    command.add_argument("--explain", type=Path, metavar="FOLDER", help="write Grad-CAM overlays there")
    command = commands.add_parser("export", help="write a model as ONNX")
    command.set_defaults(run=export)
    command.add_argument("--model", type=Path, default=MODEL, help="(default: %(default)s)")
    command.add_argument("--out", type=Path, help="(default: the model's name with .onnx)")
    arguments = parser.parse_args()

    from wbc.errors import UserError

    try:
        arguments.run(arguments)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'writing the output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def classify(arguments: argparse.Namespace) -> None:
    """One line per image: class, probability, runner-up and what to beware of."""
    from wbc.classify import Classified, find, grad_cam
    from wbc.classify import classify as classified
    from wbc.data.images import decode, write_jpeg
    from wbc.io import rounded, write_csv
    from wbc.train.inference import device
    from wbc.train.model import load_model

    files, trained, where = find(arguments.images), load_model(arguments.model), device()
    rows = list(classified(trained, files, where, arguments.tta))
    if arguments.out:
        write_csv(arguments.out, Classified._fields, rows)
        print(f"{len(rows)} images in {arguments.out}")
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(Classified._fields)
        writer.writerows(rounded(list(row)) for row in rows)
    if arguments.explain:
        for number, (file, row) in enumerate(zip(files, rows, strict=True), 1):
            if row.label:  # numbered, since files of two folders may share a name
                overlay = grad_cam(trained, decode(file.read_bytes()), row.label)
                write_jpeg(arguments.explain / f"{number:05d}-{file.stem}-{row.label}.jpg", overlay)
    if unread := sum(not row.label for row in rows):
        sys.exit(f"error: {unread} of {len(rows)} files could not be read; the notes say why")


def export(arguments: argparse.Namespace) -> None:
    """Write the model as ONNX."""
    from wbc.export import export_onnx
    from wbc.train.model import load_model

    out = arguments.out or arguments.model.with_suffix(".onnx")
    export_onnx(load_model(arguments.model), out)
    print(out)


if __name__ == "__main__":
    main()
