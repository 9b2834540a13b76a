"""Where images and labels come from: a file for each source, found by its name, so that a new one is a file.

`LAYOUT` says in words what must lie in the folder, and `items` maps the folder to a list of `Item`. Those of a public
set bear the set's own labels, which `scan` translates by `wbc.dataset.public.SETS`. It counts the
files that are no item.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from wbc.core.errors import UserError
from wbc.dataset.listing import ImageFolder, missing, read_rows, why_unread
from wbc.dataset.public import SETS

LISTED = ("ID", "labels")
VALIDATION = ("val", "valid", "validation")
PARTS = ("train", "test", *VALIDATION)
UNUSED = "neither listed nor in a class folder"


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
    other: Mapping[str, int] = MappingProxyType({})  # the other files by kind
    unused: str = ""  # the first of the images that are `UNUSED`


def scan(source: str, root: Path) -> Scanned:
    """List the images of one source under `root`, in the source's order, and count all other files.

    Of a public set they get our labels. Those whose label is none of our classes are left out and counted, and so are
    images of any source that are no item of it.

    Raises:
        SourceError: the folder, one of its lists or any image is missing, or a public set has an unknown label.
        ListError: a list is no CSV file with the expected columns.
        OSError: a folder cannot be read.
    """
    adapter = import_module(f"wbc.sources.{source}")
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; data.path must hold {adapter.LAYOUT}")
    folder, found = ImageFolder(root), adapter.items(root)
    files = {item.path for item in found if item.path}
    # an image and a link to it are one, and so are a folder and a link to it
    named = {os.path.realpath(path) for path in files | {path.parent for path in files}}
    unused, unread, other = (
        [path for path in paths if os.path.realpath(path) not in named]
        for paths in (folder.paths, folder.unread, folder.others)
    )
    faulty = [Item(path.relative_to(root).as_posix(), path, "", "", fault=why_unread(path)) for path in unread]
    if not found:
        packed = next(iter(sorted(root.rglob("*.zip"))), None)
        why = f"{packed.relative_to(root)} is not unpacked" if packed else f"expected {adapter.LAYOUT}"
        raise SourceError(f"{root}: no images; {why}" + "".join(f"; {item.id}: {item.fault}" for item in faulty[:1]))
    left_out = [item.left_out for item in found if item.left_out]
    items, difference = [item for item in found if not item.left_out], {}
    if source in SETS:
        difference = _difference(source, root, items)
        ours = {label: known.ours for label, known in SETS[source].labels.items()}
        left_out += [item.label for item in items if not ours[item.label]]
        items = [replace(item, label=ours[item.label]) for item in items if ours[item.label]]
        if not items:
            raise SourceError(f"{root}: no image of our classes; left out: {listing(_counted(left_out))}")
    return Scanned(
        source,
        root,
        items + faulty,
        _counted(left_out) | ({UNUSED: len(unused)} if unused else {}),
        difference,
        _counted(folder.others[path] for path in other),
        unused[0].relative_to(root).as_posix() if unused else "",
    )


def scan_all(source: str | Sequence[str], root: Path) -> list[Scanned]:
    """Scan `data.source`: one source under `root`, or each of several in the folder of its name there.

    Of several, every id and group bears the source's name before a slash, and so do the counts. What lies beside their
    folders is counted too, as a source without a name.

    Raises:
        SourceError, ListError, OSError: see `scan`.
    """
    if isinstance(source, str):
        return [scan(source, root)]
    several, folder = [_named(scan(name, root / name)) for name in source], ImageFolder(root)
    beside = [path for path in [*folder.paths, *folder.unread] if path.relative_to(root).parts[0] not in source]
    left_out = {"in no folder of these sources": len(beside)} if beside else {}
    other = _counted(kind for path, kind in folder.others.items() if path.relative_to(root).parts[0] not in source)
    return several + [Scanned("", root, [], left_out, {}, other)] * bool(left_out or other)


def listing(counts: Mapping[str, int | str]) -> str:
    """Names with their values in one line: `EBO 78, KSC 15`."""
    return ", ".join(f"{name} {value}" for name, value in counts.items())


def _counted(kinds: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(kinds).items()))


def _difference(source: str, root: Path, items: list[Item]) -> dict[str, int]:
    """By label of a public set, how many images more than its archive has, fewer if negative; 0 and unknown left out.

    Raises:
        SourceError: a label is none of the set's.
    """
    labels, counts = SETS[source].labels, Counter(item.label for item in items)
    if unknown := sorted(counts.keys() - labels.keys()):
        names = ", ".join(f"{label!r} ({counts[label]}×)" for label in unknown)
        raise SourceError(f"{root}: unknown label {names}; {source} has {', '.join(labels)}")
    there = Counter(item.label for item in items if not item.fault)
    more = {label: there[label] - known.images for label, known in labels.items() if known.images is not None}
    return {label: count for label, count in more.items() if count}


def _named(scanned: Scanned) -> Scanned:
    """The source's name before everything that two sources might name alike."""
    before = f"{scanned.source}/"
    items = [replace(item, id=before + item.id, group=item.group and before + item.group) for item in scanned.items]
    counts = {
        name: {before + key: count for key, count in getattr(scanned, name).items()}
        for name in ("left_out", "difference", "other")
    }
    return scanned._replace(items=items, **counts)


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
        id, found = row["ID"], images.find(row["ID"])
        if isinstance(found, str) and missing(id):
            id, found = f"{table.name}, row {number}", "no id"
        item = Item(id, None, row["labels"], row.get("part", "").lower(), group=row.get("group", ""))
        known = isinstance(found, Path)
        items.append(replace(item, path=found, fault=why_unread(found)) if known else replace(item, fault=found))
    return items
