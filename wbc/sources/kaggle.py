"""A Kaggle competition: a list of training images and unlabelled test images.

Assumed: one CSV file in `root` has `train` in its name, with columns ID and labels; at most one has `submission`
in it, whose IDs then are the test part, in its order (its labels are placeholders). Without it the test part is
every image that the training list does not name; an ID has a suffix where those of the list have.
"""

from dataclasses import replace
from pathlib import Path

from wbc.dataset.images import SUFFIXES
from wbc.dataset.listing import ImageFolder
from wbc.sources import LISTED, Item, SourceError, listed

LAYOUT = "a CSV file with 'train' in its name (columns ID,labels) and its images"


def items(root: Path) -> list[Item]:
    images = ImageFolder(root)
    table, sample = _one(root, "train"), _one(root, "submission")
    if table is None:
        raise SourceError(f"{root}: no CSV file with 'train' in its name, whose columns are {','.join(LISTED)}")
    training = [replace(item, part="train") for item in listed(table, images)]
    if sample:
        return training + [replace(item, label="", part="test") for item in listed(sample, images)]
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
