"""MLL23: a zip file per class, each unpacked to a folder of its name, `<class>/<name>.tif`, at any depth.

The folder is the label, and an ID is `<class>/<name>`. No patients are named. The same image may lie in two folders
("borderline cases"); `ingest` rejects both where the bytes are the same.
"""

from pathlib import Path

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, SourceError

LAYOUT = "the zip files, unpacked: a folder per class"


def items(root: Path) -> list[Item]:
    found = [Item(f"{path.parent.name}/{path.name}", path, path.parent.name, "") for path in ImageFolder(root).paths]
    there = {item.label for item in found}
    if packed := [path.name for path in sorted(root.rglob("[!.]*.zip")) if path.stem not in there]:
        raise SourceError(f"{root}: not unpacked: {', '.join(packed)}; unpack each, or take it out")
    return found
