"""Scale every image of one set to one size and put all into data/pixels/<set>/images.npy."""

from stages import run
from wbc.config.files import load
from wbc.core.tables import PIXELS, mark, read_manifest
from wbc.dataset.pack import pack


def main(name: str) -> None:
    settings, manifest = load("pack"), read_manifest(name)
    pack(manifest, settings.size, PIXELS / name / "images.npy", settings.crop)
    mark(PIXELS / name, name)
    print(f"{name}: packed {len(manifest)} images at {settings.size}×{settings.size}")


if __name__ == "__main__":
    run(main)
