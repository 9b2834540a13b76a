"""Check every image of one set, `study` or an external one, and list the usable ones in data/ingest/<set>/."""

from pathlib import Path

import numpy as np

from stages import run, say
from wbc.config.files import LEFT_OUT, STUDY, load, read_yaml, settings_path
from wbc.core.classes import CLASSES, TABLE_1
from wbc.core.io import atomic, write_csv, write_json
from wbc.core.tables import INGEST, mark, read_hashes, read_manifest
from wbc.dataset.contact import contact_sheet
from wbc.dataset.images import read, write_jpeg
from wbc.dataset.ingest import NOTES, ImageSet, ingest, ingest_external
from wbc.dataset.leaks import KINDS, LEAKING
from wbc.dataset.public import warnings
from wbc.sources import SourceError, format_counts

COLUMNS = 8


def main(name: str) -> None:
    if read_yaml(settings_path("ingest", name)) == LEFT_OUT:
        print(f"{name}: left out, as drawn cells tell nothing of models of real ones")
        write(name, ImageSet([], Path()))
        return
    settings = load("ingest", name)
    for line in warnings(settings.source):
        say(f"  {line}")
    source, root, strict = settings.source, Path(settings.path), settings.strict
    if name == STUDY:
        found = ingest(source, root, settings.test_fraction, settings.seed, strict)
    else:
        found = ingest_external(source, root, read_manifest(), read_hashes(), strict)
    write(name, found)
    counts = {kind: int((found.leaks["kind"] == kind).sum()) for kind in KINDS}
    if name == STUDY and settings.leaks == "stop" and any(counts[kind] for kind in LEAKING):
        leaking = ", ".join(f"{kind} {counts[kind]}" for kind in LEAKING if counts[kind])
        raise SourceError(
            f"{INGEST / name}/leaks.csv lists leaks: {leaking}; take these images out, or set data.leaks to report"
        )
    parts = found.manifest["part"].value_counts()
    print(
        f"{name}: {parts.get('train', 0)} training and {parts.get('test', 0)} test images of "
        f"{found.manifest['label'].nunique()} classes, {len(found.rejects)} rejected"
    )
    for reason, count in found.rejects["reason"].value_counts().sort_index().items():
        print(f"  rejected: {reason}: {count}")
    for note, values in found.notes.items():
        say(f"  {NOTES[note]}: {format_counts(values)}")
    if len(found.leaks):
        say(f"  leaks and copies, listed in {INGEST / name}/leaks.csv: " + format_counts(counts))
    if source == "wbcbench":
        train = found.manifest.query("part == 'train'")["label"].value_counts().to_dict()
        print(f"  the training part {'equals' if train == TABLE_1 else 'differs from'} the report's Table 1")


def write(name: str, found: ImageSet) -> None:
    folder, manifest = INGEST / name, found.manifest
    for file, table in (("rejects", found.rejects), ("leaks", found.leaks), ("manifest", manifest)):
        write_csv(folder / f"{file}.csv", table.columns, table.itertuples(index=False))
    with atomic(folder / "hashes.npy") as path, path.open("wb") as file:
        np.save(file, found.hashes)
    mark(folder, STUDY)
    parts = manifest["part"].value_counts()
    metrics = {"train": parts.get("train", 0), "test": parts.get("test", 0)}
    write_json(f"{folder}.json", metrics | {"rejected": len(found.rejects), "copies": len(found.leaks)})
    shown = manifest[manifest["part"] == manifest["part"].max()]  # train, where there is a training part
    rows = {c: shown[shown["label"] == c].head(COLUMNS) for c in CLASSES}
    sheet = contact_sheet({c: [read(r.path, r.sha256) for r in of_class.itertuples()] for c, of_class in rows.items()})
    write_jpeg(folder / "contact_sheet.jpg", sheet)


if __name__ == "__main__":
    run(main)
