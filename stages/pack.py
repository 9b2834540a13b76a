"""Scale every image to one size and put all into data/images.npy."""

from stages import run
from wbc.config import load
from wbc.data.pack import pack
from wbc.data.tables import read_manifest


def main() -> None:
    images = load("configs/images.yaml")
    manifest = read_manifest()
    pack(manifest, images.size, crop=images.crop)
    print(f"packed {len(manifest)} images at {images.size}×{images.size}")


if __name__ == "__main__":
    run(main)
