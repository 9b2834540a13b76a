"""Images and labels as people keep them, in either of two layouts.

1. `labels.csv` with columns `ID,labels[,part,group]` beside `images/`.
2. `[train/|test/]<CLASS>/*`: the folder's name is the label, and an ID is the path below `root`.
"""

from pathlib import Path

from wbc.dataset.images import SUFFIXES
from wbc.dataset.listing import ImageFolder, hidden
from wbc.sources import Item, SourceError, listed

LAYOUT = "labels.csv and images/, or a folder per class"


def items(root: Path) -> list[Item]:
    table, images = root / "labels.csv", root / "images"
    if table.exists():
        if not images.is_dir():
            raise SourceError(f"{images}: no such folder; {table.name} needs one beside it")
        return listed(table, ImageFolder(images))
    parts = [name for name in ("train", "test") if (root / name).is_dir()]
    return [
        Item(path.relative_to(root).as_posix(), path, path.parent.name, part)
        for part, base in [(part, root / part) for part in parts] or [("", root)]
        for path in sorted(base.glob("*/*"))
        if path.suffix.lower() in SUFFIXES and not any(map(hidden, path.parts[-2:]))
    ]
