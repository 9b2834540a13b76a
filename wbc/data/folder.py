"""The `folder` source: images and labels as people keep them."""

import csv
from dataclasses import dataclass
from pathlib import Path

from wbc.data.images import SUFFIXES
from wbc.errors import UserError


class SourceError(UserError):
    """A source as a whole cannot be read; the message is one line naming the folder or file and what is expected."""


@dataclass(frozen=True)
class Item:
    """One image as its source lists it: nothing about it is checked yet."""

    id: str
    path: Path | None  # None where the list names no existing file
    label: str  # "" where unlabelled
    part: str  # train, test, or "" where the source has no test part


def scan(root: Path) -> list[Item]:
    """List the images under `root`, in either of two layouts.

    1. `labels.csv` with columns `ID,labels[,part]` beside `images/`; an ID may leave out the file's suffix.
    2. `[train/|test/]<CLASS>/*`: the folder's name is the label, and an ID is the path below `root`.

    Raises:
        SourceError: the folder, its list or any image is missing.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; data.path must hold labels.csv and images/, or a folder per class")
    table = root / "labels.csv"
    items = _from_table(table, root / "images") if table.exists() else _from_folders(root)
    if not items:
        raise SourceError(f"{root}: no images; expected labels.csv and images/, or a folder per class")
    return items


def mask_of(path: Path) -> Path | None:
    """The true mask beside an image, `masks/<name>.png` next to `images/`, or None."""
    mask = path.parent.parent / "masks" / f"{path.stem}.png"
    return mask if path.parent.name == "images" and mask.exists() else None


def _from_table(table: Path, images: Path) -> list[Item]:
    if not images.is_dir():
        raise SourceError(f"{images}: no such folder; {table.name} needs one beside it")
    files = {path.name: path for path in sorted(images.rglob("*")) if path.suffix.lower() in SUFFIXES}
    files |= {path.stem: path for path in files.values()} | files  # a full name wins over a stem
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{table}: not a CSV file in UTF-8: {error}") from None
    columns = rows[0].keys() if rows else ()
    if missing := [column for column in ("ID", "labels") if rows and column not in columns]:
        raise SourceError(f"{table}: no column {missing[0]!r}; expected ID,labels[,part]")
    return [
        Item(
            id=(row["ID"] or "").strip(),
            path=files.get((row["ID"] or "").strip()),
            label=(row["labels"] or "").strip(),
            part=(row.get("part") or "").strip(),
        )
        for row in rows
    ]


def _from_folders(root: Path) -> list[Item]:
    parts = [name for name in ("train", "test") if (root / name).is_dir()]
    items = []
    for part, base in [(part, root / part) for part in parts] or [("", root)]:
        for path in sorted(base.glob("*/*")):
            if path.suffix.lower() in SUFFIXES:
                items.append(Item(path.relative_to(root).as_posix(), path, path.parent.name, part))
    return items
