"""Where images and labels come from: a file for each source, found by its name, so that a new one is a file.

`LAYOUT` says in words what must lie in the folder, and `items` maps the folder to a list of `Item`. Those of a public
set bear the set's own labels, which `scan` translates by `wbc.dataset.public.SETS`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from wbc.core.errors import UserError
from wbc.dataset.listing import ImageFolder, read_rows
from wbc.dataset.public import SETS

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
    left_out: str = ""  # why the source does not want it used, though nothing is wrong with it


class Scanned(NamedTuple):
    """What one source has."""

    source: str
    root: Path
    items: list[Item]
    left_out: dict[str, int]  # images by the reason, or by the set's label where that is none of our classes
    difference: dict[str, int]  # by the set's label: how many images more than the archive has, fewer if negative


def scan(source: str, root: Path) -> Scanned:
    """List the images of one source under `root`, in the source's order.

    Of a public set they get our labels. Those whose label is none of our classes are left out and counted.

    Raises:
        SourceError: the folder, one of its lists or any image is missing, or a public set has an unknown label.
        ListError: a list is no CSV file with the expected columns.
        OSError: a folder cannot be read.
    """
    adapter = import_module(f"wbc.sources.{source}")
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; data.path must hold {adapter.LAYOUT}")
    found = adapter.items(root)
    if not found:
        packed = next(iter(sorted(root.rglob("*.zip"))), None)
        why = f"{packed.relative_to(root)} is not unpacked" if packed else f"expected {adapter.LAYOUT}"
        raise SourceError(f"{root}: no images; {why}")
    return _translated(source, root, found) if source in SETS else Scanned(source, root, found, {}, {})


def scan_all(source: str | Sequence[str], root: Path) -> list[Scanned]:
    """Scan `data.source`: one source under `root`, or each of several in the folder of its name there.

    Of several, every id and group bears the source's name before a slash, and so do the counts.

    Raises:
        SourceError, ListError, OSError: see `scan`.
    """
    if isinstance(source, str):
        return [scan(source, root)]
    return [_named(scan(name, root / name)) for name in source]


def listing(counts: Mapping[str, int | str]) -> str:
    """Names with their values in one line: `EBO 78, KSC 15`."""
    return ", ".join(f"{name} {value}" for name, value in counts.items())


def _translated(source: str, root: Path, found: list[Item]) -> Scanned:
    """The items of a public set under our labels."""
    labels = SETS[source].labels
    counts = Counter(item.label for item in found if not item.left_out)
    if unknown := sorted(counts.keys() - labels.keys()):
        names = ", ".join(f"{label!r} ({counts[label]}×)" for label in unknown)
        raise SourceError(f"{root}: unknown label {names}; {source} has {', '.join(labels)}")
    wanted = [item for item in found if not item.left_out and labels[item.label].ours]
    unwanted = (item for item in found if item.left_out or not labels[item.label].ours)
    left_out = dict(sorted(Counter(item.left_out or item.label for item in unwanted).items()))
    if not wanted:
        raise SourceError(f"{root}: no image of our classes; left out: {listing(left_out)}")
    there = Counter(item.label for item in found if not item.left_out and not item.fault)
    return Scanned(
        source,
        root,
        [replace(item, label=labels[item.label].ours) for item in wanted],
        left_out,
        {
            label: there[label] - known.images
            for label, known in labels.items()
            if known.images is not None and there[label] != known.images
        },
    )


def _named(scanned: Scanned) -> Scanned:
    """The source's name before everything that two sources might name alike."""
    before = f"{scanned.source}/"
    items = [replace(item, id=before + item.id, group=item.group and before + item.group) for item in scanned.items]
    counts = ({before + label: count for label, count in of.items()} for of in (scanned.left_out, scanned.difference))
    return Scanned(scanned.source, scanned.root, items, *counts)


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
