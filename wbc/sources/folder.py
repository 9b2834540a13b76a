"""Images and labels as people keep them, in either of two layouts.

1. `labels.csv` with the columns `ID,labels[,part,group]` beside `images/`.
2. `[train/|test/]<CLASS>/…/*`: the class is the first folder, and an ID is the path. Parts are in upper or lower case.
   Folders below a class mean nothing; to keep patients together, list them.
"""

from wbc.dataset.listing import ImageFolder
from wbc.sources import PARTS, Item, SourceError, read_list

LAYOUT = "labels.csv and images/, or a folder per class"


def items(folder: ImageFolder) -> list[Item]:
    table, images = folder.root / "labels.csv", folder.root / "images"
    if table.exists():
        if not images.is_dir():
            raise SourceError(f"{images}: no such folder; {table.name} needs one beside it")
        return read_list(table, ImageFolder(images))
    parts = {path.name for path in folder.root.iterdir() if path.is_dir() and path.name.lower() in PARTS}
    found = []
    for path in folder.paths:
        place = path.relative_to(folder.root)
        part, *below = place.parts if parts else ("", *place.parts)
        if len(below) > 1 and (part in parts or not parts):
            found.append(Item(place.as_posix(), path, below[0], part.lower()))
    return sorted(found, key=lambda item: item.part != "train")
