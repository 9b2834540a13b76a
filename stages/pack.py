"""Scale every image of one image set to one size and write all of them to data/pixels/<set>/images.npy."""

from wbc.config.files import load
from wbc.core.tables import PIXELS, mark, read_manifest
from wbc.dataset.pack import pack


def main(image_set: str) -> None:
    settings, manifest = load("pack"), read_manifest(image_set)
    pack(manifest, settings.size, PIXELS / image_set / "images.npy", settings.crop)
    mark(PIXELS / image_set, image_set)
    print(f"{image_set}: packed {len(manifest)} images at {settings.size}×{settings.size}")
