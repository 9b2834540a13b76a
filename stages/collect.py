"""Check, scale and measure a set of another laboratory's images, on which no model learns."""

import shutil
from pathlib import Path

from stages import run
from wbc.config import load
from wbc.data.ingest import HASHES, NOTES, collect
from wbc.data.pack import pack
from wbc.data.public import warnings
from wbc.data.sources import listing
from wbc.data.tables import fingerprint, read_manifest, read_npy, write_features
from wbc.features import feature_set
from wbc.io import write_csv
from wbc.parallel import parallel_map
from wbc.use.reading import look


def main(name: str) -> None:
    config, images = load("configs/external.yaml"), load("configs/images.yaml")
    chosen, folder = config.sets[name], Path(f"data/external/{name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if not chosen.used:
        print(f"{name}: left out, as drawn cells tell nothing of models of real ones")
        return
    for line in warnings(chosen.source):
        print(f"  {line}")
    strict, backend = load("configs/data.yaml").data.strict, load("configs/compute.yaml").joblib_backend
    home = read_manifest()
    hashes = read_npy(HASHES, home, "ingest")
    found = collect(chosen.source, Path(chosen.path), home, hashes, strict, backend)
    listed = found.manifest.assign(home=fingerprint(home))  # without copies of whose images it is
    for table, file in ((found.rejects, "rejects.csv"), (listed, "manifest.csv")):
        write_csv(folder / file, table.columns, table.itertuples(index=False))
    manifest = read_manifest(folder / "manifest.csv")
    pack(manifest, images.size, folder / "images.npy", images.crop)
    files = [Path(path) for path in manifest["path"]]
    for features, masks in config.masks.items():
        tasks = ((file, None, (features, masks)) for file in files)
        values = [seen.features for seen in parallel_map(look, tasks, len(files), features, backend=backend)]
        write_features(folder / f"{features}.parquet", manifest, feature_set(features).NAMES, values)
    reasons = found.rejects["reason"].value_counts().items()
    rejected = ", ".join(f"{reason} {count}" for reason, count in reasons) or "none"
    print(f"{name}: {len(files)} images of {manifest['label'].nunique()} classes; rejected: {rejected}")
    for note, counts in found.notes.items():
        print(f"  {NOTES[note]}: {listing(counts)}")


if __name__ == "__main__":
    run(main)
