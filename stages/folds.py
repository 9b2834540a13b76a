"""Draw the cross-validation folds of the classical part for one repeat."""

from stages import run
from wbc.config import load
from wbc.data.split import folds, repeated
from wbc.data.tables import FOLDS, read_manifest, write_split


def main(repeat: str) -> None:
    config, number = load("configs/data.yaml"), int(repeat)
    manifest = read_manifest()
    fold = folds(repeated(manifest, config.split.outer, number, config.seed), config.split.folds, config.seed + number)
    write_split(FOLDS, number, manifest, fold)
    print(f"{(fold >= 0).sum()} training images in {fold.max() + 1} folds, {(fold < 0).sum()} test images")


if __name__ == "__main__":
    run(main)
