"""Measure every feature set on all images of one image set, into data/features/<set>/<features>.parquet."""

import numpy as np
import pandas as pd

from wbc.config.files import load
from wbc.core.io import atomic, write_json
from wbc.core.parallel import parallel_map
from wbc.core.tables import FEATURES, mark, read_manifest, read_masks
from wbc.dataset.images import read
from wbc.features import count_degenerate, feature_set


def measure(path: str, sha256: str, mask: np.ndarray, name: str) -> np.ndarray:
    return feature_set(name).extract(read(path, sha256), mask)


def main(image_set: str) -> None:
    manifest, total = read_manifest(image_set), 0
    ids = pd.Index(manifest["id"], name="id")
    for name, method in load("features").masks.items():
        names = feature_set(name).NAMES
        with read_masks(image_set, method) as masks:  # reads one mask at a time
            tasks = ((row.path, row.sha256, masks[row.id], name) for row in manifest.itertuples())
            rows = list(parallel_map(measure, tasks, len(ids), name))
        table = pd.DataFrame(np.reshape(rows, (len(ids), len(names))), ids, names)
        with atomic(FEATURES / image_set / f"{name}.parquet") as path:
            table.to_parquet(path)
        counts = count_degenerate(table)
        total += sum(counts.values())
        faults = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"
        print(f"{image_set}: {len(names)} features {name} of {len(ids)} cells on {method} masks; degenerate: {faults}")
    mark(FEATURES / image_set, image_set)
    write_json(FEATURES / f"{image_set}.json", {"degenerate": total})
