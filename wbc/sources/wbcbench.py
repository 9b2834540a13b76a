"""The public WBCBench 2026 archive: the three labelled lists, joined to one pool of 38,535 images.

The lists lie in the folder itself, with the columns ID and labels. An image's name occurs once anywhere below it.
`split` and other columns are ignored, since the study divided the pool anew. Images that no list names, such as the
archive's own test part, are left out.
"""

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, read_list

LISTS = ("phase1_label.csv", "phase2_train.csv", "phase2_eval.csv")
LAYOUT = f"{', '.join(LISTS)} and their images"


def items(folder: ImageFolder) -> list[Item]:
    found = [item for name in LISTS for item in read_list(folder.root / name, folder)]
    listed = {item.path for item in found}
    rest = (path for path in folder.paths if path not in listed)
    return found + [Item(path.relative_to(folder.root).as_posix(), path, left_out="no label") for path in rest]
