"""Draw the built-in sample, and cells as another laboratory shows them; for another source both folders hold a note."""

import shutil
from pathlib import Path

from stages import run
from wbc.config.files import load
from wbc.core.io import write_text
from wbc.synthetic import EXTERNAL, class_counts, write_dataset

HOME, AWAY = Path("data/synthetic"), Path("data/laboratory")


def main() -> None:
    settings = load("draw")
    for folder in (HOME, AWAY):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if not settings.synthetic:
        for folder in (HOME, AWAY):  # DVC warns of an empty one in every stage that depends on it
            write_text(folder / "none.txt", "Nothing is drawn: the images come from a folder.\n")
        print("nothing to draw: the images come from a folder")
        return
    drawn = settings.synthetic
    own = {part: class_counts(drawn[part], drawn[f"minimum_{part}"]) for part in ("train", "test")}
    external = {"test": class_counts(drawn["laboratory"], drawn["minimum_test"])}
    write_dataset(HOME, own, drawn["size"], settings.seed)
    write_dataset(AWAY, external, drawn["size"], settings.seed, EXTERNAL)
    counts = (len(list(folder.glob("images/*"))) for folder in (HOME, AWAY))
    print("drew {} cells, and {} of another laboratory".format(*counts))


if __name__ == "__main__":
    run(main)
