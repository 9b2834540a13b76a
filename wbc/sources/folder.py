"""Images and labels as people keep them, in either of two layouts.

1. `labels.csv` with columns `ID,labels[,part,group]` beside `images/`.
2. `[train/|test/]<CLASS>/…/*`: the class is the first folder, and an ID is the path below `root`. Parts may be written
   in any case. Folders below a class mean nothing: who wants patients kept together lists them.
"""

from pathlib import Path

from wbc.dataset.listing import ImageFolder
from wbc.sources import PARTS, Item, SourceError, listed

LAYOUT = "labels.csv and images/, or a folder per class"


def items(root: Path) -> list[Item]:
    table, images = root / "labels.csv", root / "images"
    if table.exists():
        if not images.is_dir():
            raise SourceError(f"{images}: no such folder; {table.name} needs one beside it")
        return listed(table, ImageFolder(images))
    parts = {folder.name for folder in root.iterdir() if folder.is_dir() and folder.name.lower() in PARTS}
    found = []
    for path in ImageFolder(root).paths:
        place = path.relative_to(root)
        part, *below = place.parts if parts else ("", *place.parts)
        if len(below) > 1 and (part in parts or not parts):
            found.append(Item(place.as_posix(), path, below[0], part.lower()))
    return sorted(found, key=lambda item: item.part != "train")
