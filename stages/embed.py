"""Embed the validation part with one trained row and project it by t-SNE (report, Figures 8 and 12)."""

from stages import run
from wbc.classes import CLASSES
from wbc.config import load
from wbc.io import write_csv, write_npz
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import load_part
from wbc.projection import project


def main(name: str) -> None:
    row = load(f"configs/{name}.yaml")
    device = choose_device()
    trained = load_model(f"models/{name}.safetensors")
    ids, pixels, targets = load_part("validation", row.train.validation, device)
    embeddings = trained.embeddings(pixels).numpy()
    points = project(embeddings, row.embed.perplexity, row.seed)

    write_npz(f"data/embeddings/{name}.npz", [("ids", ids.astype(str)), ("embeddings", embeddings)])
    labels = [CLASSES[target] for target in targets]
    write_csv(f"plots/embed/{name}.csv", ["id", "label", "x", "y"], zip(ids, labels, *points.T, strict=True))
    print(f"{name}: projected {len(ids)} embeddings of {embeddings.shape[1]} dimensions")


if __name__ == "__main__":
    run(main)
