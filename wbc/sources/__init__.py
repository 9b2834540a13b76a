"""Where images and labels come from: a module for each source, found by its name.

In each, `LAYOUT` says what must lie in the folder, and `items` lists the images of an `ImageFolder`. Those of a public
set have the set's own labels, which `scan` translates by `wbc.dataset.public.SETS`.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
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
    """One image as its source lists it, unchecked."""

    id: str
    path: Path | None
    label: str = ""  # "" where unlabelled
    part: str = ""  # train, test, or "" where the source does not say
    fault: str = ""  # why the image cannot be used
    group: str = ""  # what must stay in one part or fold, such as a patient; "" where unknown
    left_out: str = ""  # why the source does not want a sound image used


class Scan(NamedTuple):
    """What one source has."""

    root: Path
    items: list[Item]
    left_out: dict[str, int]  # images by the reason, or by the set's label where that is none of our classes
    difference: dict[str, int]  # by the set's label: how many images more than the archive has, fewer if negative
    other: dict[str, int]  # the other files by kind
    unused: str = ""  # the first of the images that are `UNUSED`


def scan(source: str, root: Path) -> Scan:
    """List the images of one source under `root`, in the source's order, and count all other files.

    Images of a public set get our labels. Images that are none of our classes, or no item of the source, are left out
    and counted.

    Raises:
        SourceError: the folder, one of its lists or any image is missing, or a public set has an unknown label.
        ListError: a list is not a CSV file with the expected columns.
        OSError: a folder cannot be read.
    """
    adapter = import_module(f"wbc.sources.{source}")
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; data.path must hold {adapter.LAYOUT}")
    folder = ImageFolder(root)
    found = adapter.items(folder)
    # An image and a link to it are one, and so are a folder and a link to it.
    named = {os.path.realpath(path) for item in found if item.path for path in (item.path, item.path.parent)}
    unused, unread, other = (
        [path for path in paths if os.path.realpath(path) not in named]
        for paths in (folder.paths, folder.unread, folder.others)
    )
    faulty = [Item(path.relative_to(root).as_posix(), path, fault=why_unread(path)) for path in unread]
    if not found:
        packed = next(iter(sorted(root.rglob("*.zip"))), None)
        why = f"{packed.relative_to(root)} is not unpacked" if packed else f"expected {adapter.LAYOUT}"
        raise SourceError(f"{root}: no images; {why}" + "".join(f"; {item.id}: {item.fault}" for item in faulty[:1]))
    left_out = [item.left_out for item in found if item.left_out] + [UNUSED] * len(unused)
    items, difference = [item for item in found if not item.left_out], {}
    if source in SETS:
        items, others, difference = _translate(source, root, items)
        left_out += others
        if not items:
            raise SourceError(f"{root}: no image of our classes; left out: {format_counts(_count(left_out))}")
    first_unused = unused[0].relative_to(root).as_posix() if unused else ""
    kinds = _count(folder.others[path] for path in other)
    return Scan(root, items + faulty, _count(left_out), difference, kinds, first_unused)


def scan_all(source: str | Sequence[str], root: Path) -> list[Scan]:
    """Scan `data.source`: one source under `root`, or several, each in the folder of its name there.

    With several sources, every id, group and count is prefixed by the source's name and a slash. The last scan counts
    the files beside their folders.

    Raises:
        SourceError, ListError, OSError: see `scan`.
    """
    if isinstance(source, str):
        return [scan(source, root)]
    scans = []
    for name in source:
        found, prefix = scan(name, root / name), f"{name}/"
        items = [replace(item, id=prefix + item.id, group=item.group and prefix + item.group) for item in found.items]
        counts = {kind: getattr(found, kind) for kind in ("left_out", "difference", "other")}
        counts = {kind: {prefix + key: n for key, n in values.items()} for kind, values in counts.items()}
        scans.append(found._replace(items=items, **counts))
    folder = ImageFolder(root)
    beside = [path for path in [*folder.paths, *folder.unread] if path.relative_to(root).parts[0] not in source]
    left_out = {"in no folder of these sources": len(beside)} if beside else {}
    other = _count(kind for path, kind in folder.others.items() if path.relative_to(root).parts[0] not in source)
    return [*scans, Scan(root, [], left_out, {}, other)]


def format_counts(counts: Mapping[str, int | str]) -> str:
    """Names with their values in one line: `EBO 78, KSC 15`."""
    return ", ".join(f"{name} {value}" for name, value in counts.items())


def read_list(table: Path, images: ImageFolder) -> list[Item]:
    """The items of a CSV file with the columns `ID,labels[,part,group]`, at least one."""
    items = []
    for number, row in enumerate(read_rows(table, LISTED), start=1):
        id, found = row["ID"], images.find(row["ID"])
        if isinstance(found, str) and missing(id):
            id, found = f"{table.name}, row {number}", "no id"
        path, fault = (None, found) if isinstance(found, str) else (found, why_unread(found))
        items.append(Item(id, path, row["labels"], row.get("part", "").lower(), fault, row.get("group", "")))
    if not items:
        raise SourceError(f"{table}: lists no image")
    return items


def _count(kinds: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(kinds).items()))


def _translate(source: str, root: Path, items: list[Item]) -> tuple[list[Item], list[str], dict[str, int]]:
    """Give the items of a public set our labels.

    Returns:
        The items of our classes, the set's labels of the other items, and by the set's label how many images there are
        more than in its archive, fewer if negative; 0 and unknown differences are omitted.

    Raises:
        SourceError: a label is none of the set's.
    """
    labels, counts = SETS[source].labels, Counter(item.label for item in items)
    if unknown := sorted(counts.keys() - labels.keys()):
        names = ", ".join(f"{label!r} ({counts[label]}×)" for label in unknown)
        raise SourceError(f"{root}: unknown label {names}; {source} has {', '.join(labels)}")
    usable = Counter(item.label for item in items if not item.fault)
    more = {label: usable[label] - known.images for label, known in labels.items() if known.images is not None}
    ours = [replace(item, label=labels[item.label].ours) for item in items if labels[item.label].ours]
    others = [item.label for item in items if not labels[item.label].ours]
    return ours, others, {label: count for label, count in more.items() if count}
