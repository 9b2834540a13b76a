"""The public WBCBench 2026 archive: the three labelled lists, joined to one pool of 38,535 images.

Assumed: the lists lie in `root` itself with columns ID and labels, and an image's name occurs once anywhere below
it. Other columns, `split` among them, are ignored: the pool is divided again, as the study's was. So are images
that no list names, since the archive's own test part has no labels.
"""

from pathlib import Path

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, listed

LISTS = ("phase1_label.csv", "phase2_train.csv", "phase2_eval.csv")
LAYOUT = f"{', '.join(LISTS)} and their images"


def items(root: Path) -> list[Item]:
    images = ImageFolder(root)
    return [item for name in LISTS for item in listed(root / name, images)]
