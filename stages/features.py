"""Measure one feature set (v1, v2) on the masks of one method, for every image, into data/features/<set>.parquet."""

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from stages import run
from wbc.data.images import read
from wbc.data.tables import read_manifest
from wbc.features import SETS
from wbc.io import atomic


def measure(path: str, sha256: str, mask: np.ndarray, name: str) -> np.ndarray:
    return SETS[name].extract(read(path, sha256), mask)


def main(name: str, method: str) -> None:
    manifest = read_manifest()
    with np.load(f"data/masks/{method}.npz") as masks:
        tasks = (delayed(measure)(row.path, row.sha256, masks[row.id], name) for row in manifest.itertuples())
        results = Parallel(n_jobs=-1, return_as="generator")(tasks)
        values = np.stack(list(tqdm(results, name, len(manifest), disable=None)))
    table = pd.DataFrame(values, columns=SETS[name].names, index=pd.Index(manifest["id"], name="id"))
    with atomic(f"data/features/{name}.parquet") as path:
        table.to_parquet(path)
    print(f"{name}: {table.shape[1]} features of {len(table)} cells on {method} masks")


if __name__ == "__main__":
    run(main)
