"""Scale every image to one size and put all into data/images.npy."""

from stages import run
from wbc.config import load
from wbc.data.pack import pack
from wbc.data.tables import read_manifest


def main() -> None:
    size = load("configs/images.yaml").size
    manifest = read_manifest()
    pack(manifest, size)
    print(f"packed {len(manifest)} images at {size}×{size}")


if __name__ == "__main__":
    run(main)
