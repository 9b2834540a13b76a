"""Where images and labels come from: one function per layout, `Path -> list[Item]`, behind `scan`."""

from dataclasses import dataclass, replace
from pathlib import Path

from wbc.data.images import SUFFIXES
from wbc.data.listing import ImageFolder, read_rows
from wbc.errors import UserError

LISTED = ("ID", "labels")
WBCBENCH = ("phase1_label.csv", "phase2_train.csv", "phase2_eval.csv")


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
    adapter, layout = SOURCES[source]
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; data.path must hold {layout}")
    items = adapter(root)
    if not items:
        raise SourceError(f"{root}: no images; expected {layout}")
    return items


def mask_of(path: Path) -> Path | None:
    """The true mask beside an image, `masks/<name>.png` next to `images/`, or None."""
    mask = path.parent.parent / "masks" / f"{path.stem}.png"
    return mask if path.parent.name == "images" and mask.exists() else None


def _folder(root: Path) -> list[Item]:
    """Images and labels as people keep them, in either of two layouts.

    1. `labels.csv` with columns `ID,labels[,part,group]` beside `images/`.
    2. `[train/|test/]<CLASS>/*`: the folder's name is the label, and an ID is the path below `root`.
    """
    table, images = root / "labels.csv", root / "images"
    if table.exists():
        if not images.is_dir():
            raise SourceError(f"{images}: no such folder; {table.name} needs one beside it")
        return _listed(table, ImageFolder(images))
    parts = [name for name in ("train", "test") if (root / name).is_dir()]
    return [
        Item(path.relative_to(root).as_posix(), path, path.parent.name, part)
        for part, base in [(part, root / part) for part in parts] or [("", root)]
        for path in sorted(base.glob("*/*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def _wbcbench(root: Path) -> list[Item]:
    """The public WBCBench 2026 archive: the three labelled lists, joined to one pool of 38,535 images.

    Assumed: the lists lie in `root` itself with columns ID and labels, and an image's name occurs once anywhere below
    it. Other columns, `split` among them, are ignored: the pool is divided again, as the study's was. So are images
    that no list names, since the archive's own test part has no labels.
    """
    images = ImageFolder(root)
    return [item for name in WBCBENCH for item in _listed(root / name, images)]


def _kaggle(root: Path) -> list[Item]:
    """A Kaggle competition: a list of training images and unlabelled test images.

    Assumed: one CSV file in `root` has `train` in its name, with columns ID and labels; at most one has `submission`
    in it, whose IDs then are the test part, in its order (its labels are placeholders). Without it the test part is
    every image that the training list does not name; an ID has a suffix where those of the list have.
    """
    images = ImageFolder(root)
    table, sample = _one(root, "train"), _one(root, "submission")
    if table is None:
        raise SourceError(f"{root}: no CSV file with 'train' in its name, whose columns are {','.join(LISTED)}")
    training = [replace(item, part="train") for item in _listed(table, images)]
    if sample:
        return training + [replace(item, label="", part="test") for item in _listed(sample, images)]
    named = {item.path for item in training}
    bare = not any(item.id.lower().endswith(SUFFIXES) for item in training)
    rest = [path for path in images.paths if path not in named]
    return training + [Item(path.stem if bare else path.name, path, "", "test") for path in rest]


def _one(root: Path, word: str) -> Path | None:
    """The CSV file with `word` in its name, or None."""
    found = sorted(path for path in root.glob("*.csv") if word in path.name.lower())
    if len(found) > 1:
        raise SourceError(f"{root}: both {found[0].name} and {found[1].name} have {word!r} in their names; keep one")
    return found[0] if found else None


def _listed(table: Path, images: ImageFolder) -> list[Item]:
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


SOURCES = {  # data.source: its function, and the layout in words
    "synthetic": (_folder, "the drawn sample; run: dvc repro draw"),
    "folder": (_folder, "labels.csv and images/, or a folder per class"),
    "wbcbench": (_wbcbench, f"{', '.join(WBCBENCH)} and their images"),
    "kaggle": (_kaggle, "a CSV file with 'train' in its name (columns ID,labels) and its images"),
}
