"""Draw the order in which training images go to the networks' validation part, for one repeat."""

from stages import run
from wbc.config import load
from wbc.data.split import repeated, validation
from wbc.data.tables import VALIDATION, read_manifest, write_split


def main(repeat: str) -> None:
    config, number = load("configs/data.yaml"), int(repeat)
    manifest = repeated(read_manifest(), config.split.outer, number, config.seed)
    place = validation(manifest, config.seed + number)
    write_split(VALIDATION, number, manifest["id"], place)
    print(f"{place.notna().sum()} training images in order, {place.isna().sum()} test images")


if __name__ == "__main__":
    run(main)
