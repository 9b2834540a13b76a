"""MLL23: a zip file per class, each unpacked to a folder of its name, `<class>/<name>.tif`, at any depth.

The label is the folder. An ID is `<class>/<name>`. Patients are not named. The same image may lie in two folders
("borderline cases"); `ingest` rejects both.
"""

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, SourceError

LAYOUT = "the zip files, unpacked: a folder per class"


def items(folder: ImageFolder) -> list[Item]:
    found = [Item(f"{path.parent.name}/{path.name}", path, path.parent.name) for path in folder.paths]
    labels = {item.label for item in found}
    if packed := [path.name for path in sorted(folder.root.rglob("[!.]*.zip")) if path.stem not in labels]:
        raise SourceError(f"{folder.root}: not unpacked: {', '.join(packed)}; unpack each, or take it out")
    return found
