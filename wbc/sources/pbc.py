"""The peripheral blood cells of Barcelona (PBC): `<folder>/<PREFIX>_<number>.jpg`, at any depth.

The archive's folder is `PBC_dataset_normal_DIB`, in some copies twice, one in the other. The label is the folder, in
`ig` and `neutrophil`, which hold several classes, with the name before its first `_`. An ID is `<folder>/<name>`.
Patients are not named.
"""

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item

SEVERAL = ("ig", "neutrophil")
LAYOUT = "PBC_dataset_normal_DIB, unpacked: a folder per class"


def items(folder: ImageFolder) -> list[Item]:
    found = []
    for path in folder.paths:
        label = path.parent.name
        prefix = f"/{path.stem.partition('_')[0].upper()}" if label in SEVERAL else ""
        found.append(Item(f"{label}/{path.name}", path, label + prefix))
    return found
