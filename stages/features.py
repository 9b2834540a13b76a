"""Measure every feature set on all images of one set, into data/features/<set>/<features>.parquet."""

import numpy as np
import pandas as pd

from stages import run, say
from wbc.config.files import load
from wbc.core.io import atomic, write_json
from wbc.core.parallel import parallel_map
from wbc.core.tables import FEATURES, mark, read_manifest, read_masks
from wbc.dataset.images import read
from wbc.features import count_degenerate, feature_set


def measure(path: str, sha256: str, mask: np.ndarray, name: str) -> np.ndarray:
    return feature_set(name).extract(read(path, sha256), mask)


def main(of: str) -> None:
    manifest, metrics = read_manifest(of), {}
    ids = pd.Index(manifest["id"], name="id")
    for name, method in load("features").masks.items():
        names = feature_set(name).NAMES
        values = np.empty((len(ids), len(names)))  # all that grows with the number of images, and its table
        with read_masks(of, method) as masks:  # reads a mask when it is asked for
            tasks = ((row.path, row.sha256, masks[row.id], name) for row in manifest.itertuples())
            for i, result in enumerate(parallel_map(measure, tasks, len(ids), name)):
                values[i] = result
        table = pd.DataFrame(values, columns=names, index=ids)
        with atomic(FEATURES / of / f"{name}.parquet") as path:
            table.to_parquet(path)
        counts = count_degenerate(table)
        metrics[name] = sum(counts.values())
        odd = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"
        say(f"{of}: {len(names)} features {name} of {len(ids)} cells on {method} masks; degenerate: {odd}")
    mark(FEATURES / of, of)
    write_json(FEATURES / f"{of}.json", {"degenerate": sum(metrics.values())})


if __name__ == "__main__":
    run(main)
