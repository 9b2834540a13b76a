"""Draw one repeat's cross-validation folds, and the order in which training images go to the validation part."""

from wbc.config.files import load
from wbc.core.tables import read_manifest, write_split
from wbc.dataset.split import folds, outer_split, tail_split, validation_positions


def main(repeat: str) -> None:
    settings, number = load("split"), int(repeat)
    manifest = tail_split(read_manifest(), settings.tail, settings.seed)
    manifest = outer_split(manifest, settings.outer, number, settings.seed)
    fold = folds(manifest, settings.folds, settings.seed + number)
    write_split("folds", number, manifest["id"], fold)
    write_split("validation", number, manifest["id"], validation_positions(manifest, settings.seed + number))
    print(f"{(fold >= 0).sum()} training images in {fold.max() + 1} folds, {(fold < 0).sum()} test images")
