"""Draw the order in which training images go to the networks' validation part, for one repeat."""

from stages import run
from wbc.config import load
from wbc.data.split import repeated, validation
from wbc.data.tables import VALIDATION, read_manifest, write_split


def main(repeat: str) -> None:
    config, number = load("configs/data.yaml"), int(repeat)
    manifest = read_manifest()
    place = validation(repeated(manifest, config.split.outer, number, config.seed), config.seed + number)
    write_split(VALIDATION, number, manifest, place)
    print(f"{place.notna().sum()} training images in order, {place.isna().sum()} test images")


if __name__ == "__main__":
    run(main)
