"""Measure one feature set on the masks of one method, for every image, into data/features/<set>.parquet."""

import numpy as np

from stages import run
from wbc.config import load
from wbc.data.images import read
from wbc.data.tables import read_manifest, read_npz, write_features
from wbc.features import degenerate, feature_set
from wbc.io import write_json
from wbc.parallel import parallel_map


def measure(path: str, sha256: str, mask: np.ndarray, name: str) -> np.ndarray:
    return feature_set(name).extract(read(path, sha256), mask)


def main(name: str, method: str) -> None:
    manifest, backend = read_manifest(), load("configs/compute.yaml").joblib_backend
    count, names = len(manifest), feature_set(name).NAMES
    values = np.empty((count, len(names)))  # all that grows with the number of images, and its table
    with read_npz(f"data/masks/{method}.npz", manifest, f"segment@{method}") as masks:  # one when it is asked for
        tasks = ((row.path, row.sha256, masks[row.id], name) for row in manifest.itertuples())
        for i, result in enumerate(parallel_map(measure, tasks, count, name, backend=backend)):
            values[i] = result
    counts = degenerate(write_features(f"data/features/{name}.parquet", manifest, names, values))
    write_json(f"metrics/features/{name}.json", {"cells": count, **counts})
    odd = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"
    print(f"{name}: {len(names)} features of {count} cells on {method} masks; degenerate: {odd}")


if __name__ == "__main__":
    run(main)
