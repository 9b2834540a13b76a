"""Unpacks parquet files of images, as Hugging Face stores them: the stages want image files, which have hashes."""

import json
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image
from pyarrow import ArrowException
from pyarrow.parquet import ParquetFile

from wbc.cli.unzip import whole
from wbc.core.io import write_csv
from wbc.dataset.images import FORMATS, SUFFIXES
from wbc.sources import SourceError
from wbc.sources.wbcbench_hf import COLUMNS

READ = ("image", "image_id", "label", "patient_hash", "wbcbench_split", "severity", "original_image_id")
BATCH = 64  # rows in memory
SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tif"}  # of Pillow's formats


def unpack(files: Sequence[Path], folder: Path) -> int:
    """Write the images of WBCBench's parquet files as they are stored, and a list of them.

    `folder`/images gets `<image_id><suffix>`, and `folder`/labels.csv a row for each, columns
    `wbc.sources.wbcbench_hf.COLUMNS`. The suffix is that of the stored path or, without one, the content's format.
    A label is a text, or a number whose name stands in the file's schema, and "" where there is none. The folder of
    images appears last and whole: where it is, everything was unpacked.

    Args:
        files: parquet files with the columns `READ`.
        folder: where to; it may hold the parquet files too.

    Returns:
        The number of images.

    Raises:
        SourceError: the images are there already, a file is not readable or lacks a column, or a row has no image, a
            label without name, a name that is no file's, or one that occurred before.
        OSError: not written.
    """
    images = folder / "images"
    if images.exists():
        raise SourceError(f"{images}: is there already; take it away to unpack again")
    rows = {}
    folder.mkdir(parents=True, exist_ok=True)
    with whole(images) as temporary:
        for file in files:
            for id, content, suffix, *values in _rows(file):
                if id in rows:
                    raise SourceError(f"{file}: image_id {id!r} occurs twice; unpack one of its files alone")
                (temporary / f"{id}{suffix}").write_bytes(content)
                rows[id] = (id, *values)
        if not rows:
            raise SourceError(f"{folder}: no image in {len(files)} parquet files")
        write_csv(folder / "labels.csv", COLUMNS, rows.values())
    return len(rows)


def _rows(file: Path) -> Iterator[tuple[str, bytes, str, str, str, str, str, str]]:
    """ID, content, suffix, label, patient, split, severity and original of each image in a file."""
    try:
        with ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            if missing := [column for column in READ if column not in schema.names]:
                raise SourceError(f"{file}: no column {missing[0]!r}; expected {', '.join(READ)}")
            names = _label_names(schema.metadata or {})
            for batch in parquet.iter_batches(BATCH, columns=list(READ)):
                for row in batch.to_pylist():
                    yield _row(row, names, file)
    except (ArrowException, OSError) as error:
        raise SourceError(f"{file}: not a parquet file that can be read: {error}") from None


def _row(row: dict[str, Any], names: Sequence[str], file: Path) -> tuple[str, bytes, str, str, str, str, str, str]:
    id, suffix = _split(_text(row["image_id"]))
    if not re.fullmatch(r"\w[\w.-]*", id):
        raise SourceError(f"{file}: image_id {row['image_id']!r} is no file's name")
    stored = row["image"]
    if not isinstance(stored, dict) or not stored.get("bytes"):
        raise SourceError(f"{file}: the image of {id!r} is not in the file")
    suffix = suffix or _split(_text(stored.get("path")))[1] or _suffix_of(stored["bytes"])
    if not suffix:
        raise SourceError(f"{file}: the image of {id!r} is not a {', '.join(FORMATS)} image")
    label = row["label"]
    if isinstance(label, int):
        if not -1 <= label < len(names):
            raise SourceError(f"{file}: the label {label} of {id!r} has no name in the file's schema")
        label = names[label] if label >= 0 else ""  # -1 is Hugging Face's for none
    original = _split(_text(row["original_image_id"]))[0]
    others = (_text(row[column]) for column in ("patient_hash", "wbcbench_split", "severity"))
    return (id, stored["bytes"], suffix, _text(label), *others, original)


def _label_names(metadata: dict[bytes, bytes]) -> list[str]:
    """The classes that Hugging Face's `ClassLabel` numbers, none where the labels are no such numbers."""
    try:
        return json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, ValueError, TypeError):
        return []


def _split(name: str) -> tuple[str, str]:
    """A name without an image's suffix, and that, "" where there is none."""
    suffix = PurePosixPath(name).suffix
    return (name.removesuffix(suffix), suffix.lower()) if suffix.lower() in SUFFIXES else (name, "")


def _suffix_of(content: bytes) -> str:
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return SUFFIX[image.format]
    except (OSError, SyntaxError, ValueError):
        return ""


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
