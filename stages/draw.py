"""Draw the built-in sample into data/synthetic; for any other source, leave that folder empty."""

import shutil
from pathlib import Path

from stages import run
from wbc.config import load
from wbc.data.synthetic import write_dataset

FOLDER = Path("data/synthetic")


def main() -> None:
    config = load("configs/data.yaml")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    if config.data.source != "synthetic":
        print("nothing to draw: the images come from a folder")
        return
    write_dataset(FOLDER, **config.synthetic.model_dump(), seed=config.seed)
    print(f"drew {len(list(FOLDER.glob('images/*')))} cells of {config.synthetic.size}×{config.synthetic.size} pixels")


if __name__ == "__main__":
    run(main)
