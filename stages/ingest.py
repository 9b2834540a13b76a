"""Check every image of the source; list the usable ones in data/manifest.csv, the others in data/rejects.csv."""

from pathlib import Path

from stages import run
from wbc.classes import CLASSES
from wbc.config import Data, load
from wbc.data.contact import contact_sheet
from wbc.data.images import read, write_jpeg
from wbc.data.ingest import ingest
from wbc.data.tables import MANIFEST
from wbc.io import write_csv, write_json

COLUMNS = 8


def main() -> None:
    config = load("configs/data.yaml")
    data = Data(**config["data"])
    manifest, rejects = ingest(Path(data.path), data.test_fraction, config["seed"])
    for path, table in ((MANIFEST, manifest), (MANIFEST.with_name("rejects.csv"), rejects)):
        write_csv(path, table.columns, table.itertuples(index=False))

    parts = manifest["part"].value_counts()
    counts = {"train": int(parts.get("train", 0)), "test": int(parts.get("test", 0)), "rejected": len(rejects)}
    write_json("metrics/ingest.json", counts)
    per_class = manifest.groupby(["label", "part"]).size()
    write_csv(
        "plots/classes.csv",
        ["label", "train", "test"],
        [(c, int(per_class.get((c, "train"), 0)), int(per_class.get((c, "test"), 0))) for c in CLASSES],
    )
    shown = {c: manifest[(manifest["label"] == c) & (manifest["part"] == "train")].head(COLUMNS) for c in CLASSES}
    sheet = contact_sheet({c: [read(r.path, r.sha256) for r in rows.itertuples()] for c, rows in shown.items()})
    write_jpeg("plots/contact_sheet.jpg", sheet)
    print(f"{counts['train']} training and {counts['test']} test images, {len(rejects)} rejected")


if __name__ == "__main__":
    run(main)
