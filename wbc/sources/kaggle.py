"""A Kaggle competition: a list of training images, and unlabelled test images.

One CSV file with `train` in its name has the columns ID and labels. At most one has `submission` in its name; its IDs
are the test part, in its order, and its labels placeholders. Without it, the test part is every image that the training
list does not name; an ID has a suffix where those of the list have.
"""

from dataclasses import replace
from pathlib import Path

from wbc.dataset.images import SUFFIXES
from wbc.dataset.listing import ImageFolder
from wbc.sources import LISTED, Item, SourceError, read_list

LAYOUT = "a CSV file with 'train' in its name (columns ID,labels) and its images"


def items(folder: ImageFolder) -> list[Item]:
    table, sample = (_find_table(folder.root, word) for word in ("train", "submission"))
    if table is None:
        raise SourceError(f"{folder.root}: no CSV file with 'train' in its name, whose columns are {','.join(LISTED)}")
    training = [replace(item, part="train") for item in read_list(table, folder)]
    if sample:
        return training + [replace(item, label="", part="test") for item in read_list(sample, folder)]
    listed = {item.path for item in training}
    bare = not any(item.id.lower().endswith(SUFFIXES) for item in training)
    rest = [path for path in folder.paths if path not in listed]
    return training + [Item(path.stem if bare else path.name, path, part="test") for path in rest]


def _find_table(root: Path, word: str) -> Path | None:
    """The CSV file with `word` in its name."""
    found = sorted(path for path in root.glob("*.csv") if word in path.name.lower())
    if len(found) > 1:
        raise SourceError(f"{root}: both {found[0].name} and {found[1].name} have {word!r} in their names; keep one")
    return found[0] if found else None
