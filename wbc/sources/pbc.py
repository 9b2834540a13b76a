"""The peripheral blood cells of Barcelona (PBC): `<folder>/<PREFIX>_<number>.jpg`, at any depth.

The archive's folder is `PBC_dataset_normal_DIB`, in some copies twice, one in the other. The label is the folder, and
in the two that hold several classes, `ig` and `neutrophil`, also the name before its first `_`. Hidden files, of which
the archive has one that is no image, and `__MACOSX` are passed over. An ID is `<folder>/<name>`; no patient is named.
"""

from pathlib import Path

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item

SEVERAL = ("ig", "neutrophil")
LAYOUT = "PBC_dataset_normal_DIB, unpacked: a folder per class"


def items(root: Path) -> list[Item]:
    found = []
    for path in ImageFolder(root).paths:
        folder = path.parent.name
        label = f"{folder}/{path.stem.partition('_')[0].upper()}" if folder in SEVERAL else folder
        found.append(Item(f"{folder}/{path.name}", path, label, ""))
    return found
