"""Check every image of the source: the usable ones go to data/manifest.csv, the others to data/rejects.csv."""

from pathlib import Path

from stages import run
from wbc.classes import CLASSES, TABLE_1
from wbc.config import load
from wbc.data.contact import contact_sheet
from wbc.data.images import read, write_jpeg
from wbc.data.ingest import HASHES, NOTES, ingest
from wbc.data.leaks import KINDS, LEAKING
from wbc.data.public import warnings
from wbc.data.sources import SourceError, listing
from wbc.data.tables import LEAKS, MANIFEST, REJECTS, read_manifest, write_npy
from wbc.io import write_csv, write_json

COLUMNS = 8


def main() -> None:
    config = load("configs/data.yaml")
    data, backend = config.data, load("configs/compute.yaml").joblib_backend
    for line in warnings(data.source):
        print(f"  {line}")
    found = ingest(data.source, Path(data.path), data.test_fraction, config.seed, data.strict, backend)
    for path, table in ((REJECTS, found.rejects), (LEAKS, found.leaks), (MANIFEST, found.manifest)):
        write_csv(path, table.columns, table.itertuples(index=False))
    write_npy(HASHES, read_manifest(), found.hashes.shape[1:], "<u8", found.hashes)
    leaks = {kind: int((found.leaks["kind"] == kind).sum()) for kind in KINDS}
    if data.leaks == "stop" and any(leaks[kind] for kind in LEAKING):
        counts = ", ".join(f"{kind} {leaks[kind]}" for kind in LEAKING if leaks[kind])
        raise SourceError(f"{LEAKS} lists leaks: {counts}; take these images out, or set data.leaks to report")

    per_class = found.manifest.groupby(["label", "part"]).size()
    table = [(c, int(per_class.get((c, "train"), 0)), int(per_class.get((c, "test"), 0))) for c in CLASSES]
    write_csv("plots/classes.csv", ["label", "train", "test"], table)
    parts = found.manifest["part"].value_counts()
    metrics = {
        "train": int(parts.get("train", 0)),
        "test": int(parts.get("test", 0)),
        "rejected": len(found.rejects),
        "reasons": found.rejects["reason"].value_counts().sort_index().to_dict(),
        "leaks": leaks,
    }
    if data.source == "wbcbench":
        metrics["table_1"] = {label: train for label, train, _ in table} == TABLE_1
    write_json("metrics/ingest.json", metrics | found.notes)

    train = found.manifest[found.manifest["part"] == "train"]
    shown = {c: train[train["label"] == c].head(COLUMNS) for c in CLASSES}
    sheet = contact_sheet({c: [read(r.path, r.sha256) for r in rows.itertuples()] for c, rows in shown.items()})
    write_jpeg("plots/contact_sheet.jpg", sheet)
    print(f"{metrics['train']} training and {metrics['test']} test images, {metrics['rejected']} rejected")
    for name, note in found.notes.items():
        print(f"  {NOTES[name]}: {listing(note)}")
    if len(found.leaks):
        print(f"  copies, listed in {LEAKS}: " + listing(leaks))


if __name__ == "__main__":
    run(main)
