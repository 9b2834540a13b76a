"""Measure one feature set on the masks of one method, for every image, into data/features/<set>.parquet."""

import numpy as np
import pandas as pd

from stages import run, say
from wbc.config import load
from wbc.data.images import read
from wbc.data.tables import read_manifest
from wbc.features import degenerate, feature_set
from wbc.io import atomic, write_json
from wbc.parallel import parallel_map


def measure(path: str, sha256: str, mask: np.ndarray, name: str) -> np.ndarray:
    return feature_set(name).extract(read(path, sha256), mask)


def main(name: str, method: str) -> None:
    manifest, backend = read_manifest(), load("configs/compute.yaml").joblib_backend
    ids, names = pd.Index(manifest["id"], name="id"), feature_set(name).NAMES
    values = np.empty((len(ids), len(names)))  # all that grows with the number of images, and its table
    with np.load(f"data/masks/{method}.npz") as masks:  # reads a mask when it is asked for
        tasks = ((row.path, row.sha256, masks[row.id], name) for row in manifest.itertuples())
        for i, result in enumerate(parallel_map(measure, tasks, len(ids), name, backend=backend)):
            values[i] = result
    table = pd.DataFrame(values, columns=names, index=ids)
    with atomic(f"data/features/{name}.parquet") as path:
        table.to_parquet(path)
    counts = degenerate(table)
    write_json(f"metrics/features/{name}.json", {"cells": len(ids), **counts})
    odd = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"
    say(f"{name}: {len(names)} features of {len(ids)} cells on {method} masks; degenerate: {odd}")


if __name__ == "__main__":
    run(main)
