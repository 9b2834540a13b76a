"""Where images and labels come from: a file for each source, found by its name, so that a new one is a file.

`LAYOUT` says in words what must lie in the folder, and `items` maps the folder to a list of `Item`.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from wbc.data.listing import ImageFolder, read_rows
from wbc.errors import UserError

LISTED = ("ID", "labels")


class SourceError(UserError):
    """A source as a whole cannot be read; the message is one line naming the folder or file and what is expected."""


@dataclass(frozen=True)
class Item:
    """One image as its source lists it: nothing about it is checked yet."""

    id: str
    path: Path | None
    label: str  # "" where unlabelled
    part: str  # train, test, or "" where the source does not say
    fault: str = ""  # why there is no path
    group: str = ""  # what must not be divided between parts or folds, such as a patient; "" where unknown


def scan(source: str, root: Path) -> list[Item]:
    """List the images of `data.source` under `root`, in the source's order.

    Raises:
        SourceError: the folder, one of its lists or any image is missing.
        ListError: a list is no CSV file with the expected columns.
        OSError: a folder cannot be read.
    """
    adapter = import_module(f"wbc.data.sources.{source}")
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; data.path must hold {adapter.LAYOUT}")
    found = adapter.items(root)
    if not found:
        raise SourceError(f"{root}: no images; expected {adapter.LAYOUT}")
    return found


def mask_of(path: Path) -> Path | None:
    """The true mask beside an image, `masks/<name>.png` next to `images/`, or None."""
    mask = path.parent.parent / "masks" / f"{path.stem}.png"
    return mask if path.parent.name == "images" and mask.exists() else None


def listed(table: Path, images: ImageFolder) -> list[Item]:
    """The items of a CSV file with columns `ID,labels[,part,group]`, of which there must be one."""
    items, rows = [], read_rows(table, LISTED)
    if not rows:
        raise SourceError(f"{table}: lists no image")
    for number, row in enumerate(rows, start=1):
        label = "" if row["labels"].lower() == "nan" else row["labels"]  # as pandas may write a missing one
        id, part = row["ID"], row.get("part", "")
        found = images.find(id) if id else "no id"
        item = Item(id or f"{table.name}, row {number}", None, label, part, group=row.get("group", ""))
        items.append(replace(item, fault=found) if isinstance(found, str) else replace(item, path=found))
    return items
