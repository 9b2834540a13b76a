"""The public WBCBench 2026 archive: the three labelled lists, joined to one pool of 38,535 images.

Assumed: the lists lie in `root` itself with columns ID and labels, and an image's name occurs once anywhere below
it. Other columns, `split` among them, are ignored: the pool is divided again, as the study's was. Images that no
list names are left out and counted, since the archive's own test part has no labels.
"""

from pathlib import Path

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, listed

LISTS = ("phase1_label.csv", "phase2_train.csv", "phase2_eval.csv")
LAYOUT = f"{', '.join(LISTS)} and their images"


def items(root: Path) -> list[Item]:
    images = ImageFolder(root)
    found = [item for name in LISTS for item in listed(root / name, images)]
    named = {item.path for item in found}
    return found + [
        Item(path.relative_to(root).as_posix(), path, "", "", left_out="no label")
        for path in images.paths
        if path not in named
    ]
