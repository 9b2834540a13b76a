"""Check every image of one image set, and list the usable ones in data/ingest/<set>/."""

from pathlib import Path

import numpy as np

from wbc.config.files import LEFT_OUT, STUDY, load
from wbc.core.classes import CLASSES, TABLE_1
from wbc.core.io import atomic, write_csv, write_json
from wbc.core.tables import INGEST, mark, read_manifest
from wbc.dataset.contact import contact_sheet
from wbc.dataset.images import read, write_jpeg
from wbc.dataset.ingest import NOTES, ImageSet, ingest, ingest_external
from wbc.dataset.leaks import KINDS, LEAKING
from wbc.dataset.public import warnings
from wbc.sources import SourceError, format_counts

COLUMNS = 8  # images of each class on the contact sheet


def main(image_set: str) -> None:
    settings, folder = load(f"ingest/{image_set}"), INGEST / image_set
    if vars(settings) == LEFT_OUT:
        write(folder, ImageSet([], Path()))
        return print(f"{image_set}: left out, since drawn cells do not test models of real ones")
    source, root, strict = settings.source, Path(settings.path), settings.strict
    for line in warnings(source):
        print(f"  {line}")
    if image_set == STUDY:
        found = ingest(source, root, settings.test_fraction, settings.seed, strict)
    else:
        found = ingest_external(source, root, read_manifest(), np.load(INGEST / STUDY / "hashes.npy"), strict)
    counts, labels = write(folder, found), found.manifest["label"]
    leaks = {kind: int((found.leaks["kind"] == kind).sum()) for kind in KINDS}
    stopping = {kind: leaks[kind] for kind in LEAKING if leaks[kind]}
    if image_set == STUDY and settings.leaks == "stop" and stopping:
        advice = "take these images out, or set data.leaks to report"
        raise SourceError(f"{folder}/leaks.csv lists leaks: {format_counts(stopping)}; {advice}")
    parts = f"{counts['train']} training and {counts['test']} test images of {labels.nunique()} classes"
    print(f"{image_set}: {parts}, {counts['rejected']} rejected")
    for reason, count in found.rejects["reason"].value_counts().sort_index().items():
        print(f"  rejected: {reason}: {count}")
    for note, values in found.notes.items():
        print(f"  {NOTES[note]}: {format_counts(values)}")
    if len(found.leaks):
        print(f"  leaks and copies, listed in {folder}/leaks.csv: {format_counts(leaks)}")
    if source == "wbcbench":
        same = labels[found.manifest["part"] == "train"].value_counts().to_dict() == TABLE_1
        print(f"  the training part {'equals' if same else 'differs from'} the report's Table 1")


def write(folder: Path, found: ImageSet) -> dict[str, int]:
    """Write the outputs and return the counts of the metrics file."""
    for name in ("rejects", "leaks", "manifest"):
        table = getattr(found, name)
        write_csv(folder / f"{name}.csv", table.columns, table.itertuples(index=False))
    with atomic(folder / "hashes.npy") as path, path.open("wb") as file:
        np.save(file, found.hashes)
    parts, first = found.manifest["part"], {}
    for label in CLASSES:  # of the training part, or of the test part if there is no other
        rows = found.manifest[(parts == parts.max()) & (found.manifest["label"] == label)].head(COLUMNS)
        first[label] = [read(row.path, row.sha256) for row in rows.itertuples()]
    write_jpeg(folder / "contact_sheet.jpg", contact_sheet(first))
    mark(folder, STUDY)
    counts = {"train": int((parts == "train").sum()), "test": int((parts == "test").sum())}
    write_json(f"{folder}.json", counts := counts | {"rejected": len(found.rejects), "copies": len(found.leaks)})
    return counts
