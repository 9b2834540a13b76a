"""Draw the validation order and the cross-validation folds."""

from stages import run
from wbc.config import Split, load
from wbc.data.split import split
from wbc.data.tables import SPLITS, read_manifest
from wbc.io import atomic


def main() -> None:
    config = load("configs/data.yaml")
    table = split(read_manifest(), Split(**config["split"]).folds, config["seed"])
    with atomic(SPLITS) as path:
        table.to_csv(path, index=False, lineterminator="\n")
    print(f"{(table['part'] == 'train').sum()} training images in {config['split']['folds']} folds")


if __name__ == "__main__":
    run(main)
