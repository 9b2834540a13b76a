"""Check, scale and measure a set of another laboratory's images, on which no model learns."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from stages import run, say
from wbc.config import load
from wbc.data.ingest import HASHES, NOTES, collect
from wbc.data.pack import pack
from wbc.data.public import warnings
from wbc.data.sources import listing
from wbc.data.tables import read_manifest
from wbc.features import feature_set
from wbc.io import write_csv, write_text
from wbc.parallel import parallel_map
from wbc.use.reading import look


def main(name: str) -> None:
    config, images = load("configs/external.yaml"), load("configs/images.yaml")
    chosen, folder = config.sets[name], Path(f"data/external/{name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if not chosen.used:
        why = "left out, as drawn cells tell nothing of models of real ones"
        write_text(folder / "none.txt", f"{name}: {why}\n")  # DVC warns of an empty folder
        print(f"{name}: {why}")
        return
    for line in warnings(chosen.source):
        say(f"  {line}")
    strict, backend = load("configs/data.yaml").data.strict, load("configs/compute.yaml").joblib_backend
    found = collect(chosen.source, Path(chosen.path), read_manifest(), np.load(HASHES), strict, backend)
    for table, file in ((found.rejects, "rejects.csv"), (found.manifest, "manifest.csv")):
        write_csv(folder / file, table.columns, table.itertuples(index=False))
    pack(found.manifest, images.size, folder / "images.npy", images.crop)
    ids, files = pd.Index(found.manifest["id"], name="id"), [Path(path) for path in found.manifest["path"]]
    for features, masks in config.masks.items():
        tasks = ((file, None, (features, masks)) for file in files)
        values = [seen.features for seen in parallel_map(look, tasks, len(files), features, backend=backend)]
        pd.DataFrame(values, columns=feature_set(features).NAMES, index=ids).to_parquet(folder / f"{features}.parquet")
    reasons = found.rejects["reason"].value_counts().items()
    rejected = ", ".join(f"{reason} {count}" for reason, count in reasons) or "none"
    say(f"{name}: {len(ids)} images of {found.manifest['label'].nunique()} classes; rejected: {rejected}")
    for note, counts in found.notes.items():
        say(f"  {NOTES[note]}: {listing(counts)}")


if __name__ == "__main__":
    run(main)
