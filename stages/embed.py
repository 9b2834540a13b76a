"""Project one row's embeddings of the validation part by t-SNE (report, Figures 8 and 12)."""

from stages import run
from wbc.classes import CLASSES
from wbc.config import load_row
from wbc.data.tables import read_manifest, read_npz
from wbc.io import write_csv
from wbc.projection import project


def main(name: str, repeat: str) -> None:
    row, name = load_row(name, int(repeat)), f"{name}-{repeat}"
    with read_npz(f"data/embeddings/{name}.npz", read_manifest(), f"predict@{name}") as stored:
        ids, targets, embeddings = (stored[key] for key in ("ids", "targets", "embeddings"))
    points = project(embeddings, row.embed.perplexity, row.seed)
    labels = [CLASSES[target] for target in targets]
    write_csv(f"plots/embed/{name}.csv", ["id", "label", "x", "y"], zip(ids, labels, *points.T, strict=True))
    print(f"{name}: projected {len(ids)} embeddings of {embeddings.shape[1]} dimensions")


if __name__ == "__main__":
    run(main)
