"""Draw the order in which training images go to the networks' validation part."""

from stages import run
from wbc.config import load
from wbc.data.split import validation
from wbc.data.tables import VALIDATION, read_manifest, write_split


def main() -> None:
    manifest = read_manifest()
    place = validation(manifest, load("configs/data.yaml").seed)
    write_split(VALIDATION, manifest["id"], place)
    print(f"{place.notna().sum()} training images in order")


if __name__ == "__main__":
    run(main)
