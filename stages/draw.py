"""Draw the built-in sample, and cells as another laboratory shows them; with other sources, leave a note instead."""

import shutil
from pathlib import Path

from wbc.config.files import load
from wbc.core.io import write_text
from wbc.synthetic import EXTERNAL, class_counts, write_dataset

SAMPLE, LABORATORY = Path("data/synthetic"), Path("data/laboratory")


def main() -> None:
    seed, drawn = load("draw").seed, load("draw").synthetic
    for folder in (SAMPLE, LABORATORY):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if not drawn:  # DVC warns of an empty folder
            write_text(folder / "none.txt", "Nothing is drawn: the images come from a folder.\n")
    if drawn:
        own = {part: class_counts(drawn[part], drawn[f"minimum_{part}"]) for part in ("train", "test")}
        external = {"test": class_counts(drawn["laboratory"], drawn["minimum_test"])}
        write_dataset(SAMPLE, own, drawn["size"], seed)
        write_dataset(LABORATORY, external, drawn["size"], seed, EXTERNAL)
    cells, others = (len(list(folder.glob("images/*"))) for folder in (SAMPLE, LABORATORY))
    print(f"drew {cells} cells, and {others} of another laboratory")
