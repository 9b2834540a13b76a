"""Download, check, unpack and count a public set of labelled cells."""

import json
import os
import re
import shlex
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pandas as pd
import pooch
import requests
from PIL import Image
from pyarrow.parquet import read_schema

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import write_csv
from wbc.dataset.images import FORMATS, SUFFIXES
from wbc.dataset.ingest import NOTES
from wbc.dataset.listing import ImageFolder
from wbc.dataset.public import SETS, PublicSet
from wbc.sources import format_counts, scan
from wbc.sources.wbcbench_hf import COLUMNS

ZIP = "[!.]*.[zZ][iI][pP]"
# Columns of WBCBench's parquet files, in the order of `COLUMNS`, and the image
READ = ["image_id", "label", "patient_hash", "wbcbench_split", "severity", "original_image_id", "image"]


def run(options: Namespace) -> None:
    """Download what has an address, unless the folder holds other files; unpack what a person put there; count."""
    chosen, folder, place = SETS[options.set], options.folder, shlex.quote(str(options.folder))
    print(f"{chosen.title}\n{chosen.page}\nlicence: {chosen.licence}; {chosen.size}, {chosen.images:,} images")
    if chosen.forbids:
        print(f"forbidden: {chosen.forbids}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _download(chosen, folder)
        for archive in sorted(folder.glob(ZIP)):
            if not archive.with_suffix("").exists():
                unzip(archive, archive.with_suffix(""))
        shards = sorted(folder.rglob("[!.]*.parquet"))
        if shards and not (folder / "images").exists():
            unpack_parquet(shards, folder)
    except UserError:
        print(f"By hand: {chosen.steps or 'open the page and download the files'}\n  page: {chosen.page}")
        print(f"  folder: {folder}\n  then run: python -m wbc fetch {options.set} {place}")
        raise
    scanned = scan(options.set, folder)
    counts = Counter(item.label for item in scanned.items if not item.fault)
    print(f"{folder}: {counts.total():,} images: {format_counts({c: counts[c] for c in CLASSES if counts[c]})}")
    for note in ("left_out", "other", "difference"):
        if found := getattr(scanned, note):
            print(f"{NOTES[note]}: {format_counts(found)}")
    if chosen.image_bytes:
        size = sum(path.stat().st_size for path in ImageFolder(folder).paths)
        print(f"bytes of all images: {size:,}; published: {chosen.image_bytes:,}")
    print(f"next: dvc exp run -S data.source={options.set} -S data.path={place}")


def _download(chosen: PublicSet, folder: Path) -> None:
    """Download and unpack the files of which neither the archive nor its folder is there."""
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    missing = {file: url for file, url in chosen.files.items() if present.isdisjoint({file, Path(file).stem})}
    others = present.difference(chosen.files, (Path(file).stem for file in chosen.files))
    if not present and not chosen.files:
        raise UserError(f"{folder}: empty, and this set has no address to download from")
    if missing and others:
        print(f"{folder} holds {min(others)}: nothing is downloaded into it")
        return
    for file, url in missing.items():
        with TemporaryDirectory(dir=folder, prefix=".") as temporary:
            archives = pooch.Pooch(temporary, url.removesuffix(file), {file: None}, {file: url}, retry_if_failed=3)
            try:
                if url.startswith("doi:"):
                    archives.load_registry_from_doi()  # its MD5
                archive = archives.fetch(file, progressbar=sys.stderr.isatty())
            except (requests.RequestException, LookupError, TypeError, ValueError) as error:
                why = error if isinstance(error, requests.HTTPError | ValueError) else type(error).__name__
                raise UserError(f"{file}: cannot be downloaded: {why}") from None
            unzip(Path(archive), folder / Path(file).stem)


@contextmanager
def complete_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends without an error: it is complete or absent."""
    with TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
        folder = Path(temporary, target.name)
        folder.mkdir()
        yield folder
        os.sync()  # after a power cut no image is empty
        folder.rename(target)


def unzip(archive: Path, target: Path) -> None:
    """Unpack a zip file, and the zip files in it, into a new folder.

    `zipfile` removes drives, roots and `..` from the names of entries and writes links as plain files.

    Raises:
        UserError: it is damaged, encrypted or does not fit on the disk.
    """
    with complete_folder(target) as folder:
        try:
            with ZipFile(archive) as opened:
                opened.extractall(folder)
            for inner in sorted(folder.rglob(ZIP)):
                with ZipFile(inner) as opened:
                    opened.extractall(inner.with_suffix(""))
                inner.unlink()
        except Exception as error:  # damaged archives raise many kinds
            raise UserError(f"{archive.name}: cannot be unpacked: {error or 'it is cut off'}") from None


def unpack_parquet(files: Sequence[Path], folder: Path) -> None:
    """Write the images in WBCBench's parquet files, as they are stored, to `images/`, and `labels.csv`.

    Raises:
        UserError: a file, a label, an image or an ID cannot be used.
    """
    rows, suffix = {}, rf"(?i)({'|'.join(map(re.escape, SUFFIXES))})$"
    with complete_folder(folder / "images") as images:
        for file in files:
            try:
                table = pd.read_parquet(file, columns=READ)
                if pd.api.types.is_integer_dtype(table["label"]):  # Hugging Face numbers classes, and -1 is none
                    names = json.loads(read_schema(file).metadata[b"huggingface"])["info"]["features"]["label"]["names"]
                    table["label"] = [names[number] if number >= 0 else "" for number in table["label"]]
            except Exception as error:  # pyarrow and pandas raise many kinds
                raise UserError(f"{file}: not a parquet file with {', '.join(READ)}: {error}") from None
            text = table[READ[:-1]].fillna("").astype(str)
            text = text.replace(dict.fromkeys(("image_id", "original_image_id"), suffix), "", regex=True)
            for (id, *values), image in zip(text.to_numpy().tolist(), table["image"], strict=True):
                if id in rows or not re.fullmatch(r"\w[\w.-]*", id):
                    raise UserError(f"{file}: image_id {id!r} {'occurs twice' if id in rows else 'is not a file name'}")
                try:
                    kind = Image.open(BytesIO(image["bytes"]), formats=FORMATS).format.lower()
                except Exception:  # damaged headers raise many kinds
                    raise UserError(f"{file}: the image of {id!r} is missing or no {', '.join(FORMATS)}") from None
                (images / f"{id}.{kind}").write_bytes(image["bytes"])
                rows[id] = (id, *values)
        write_csv(folder / "labels.csv", COLUMNS, rows.values())
