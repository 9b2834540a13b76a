"""Draw the cross-validation folds of the classical part."""

from stages import run
from wbc.config import load
from wbc.data.split import folds
from wbc.data.tables import FOLDS, read_manifest, write_split


def main() -> None:
    config = load("configs/data.yaml")
    manifest = read_manifest()
    fold = folds(manifest, config.split.folds, config.seed)
    write_split(FOLDS, manifest["id"], fold)
    print(f"{(fold >= 0).sum()} training images in {fold.max() + 1} folds")


if __name__ == "__main__":
    run(main)
