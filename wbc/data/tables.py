"""The small tables that pass between the steps, and the one file of pixels."""

from pathlib import Path

import numpy as np
import pandas as pd

from wbc.classes import CLASSES

MANIFEST = Path("data/manifest.csv")
SPLITS = Path("data/splits.csv")
PIXELS = Path("data/images.npy")


def read_manifest(path: Path = MANIFEST) -> pd.DataFrame:
    """The manifest as `wbc.data.ingest` returned it."""
    text = dict.fromkeys(("id", "path", "sha256", "label", "part", "mask"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False)


def read_splits(path: Path = SPLITS) -> pd.DataFrame:
    """The splits as `wbc.data.split` returned them, row by row those of the manifest."""
    return pd.read_csv(path, dtype={"id": str}, float_precision="round_trip")


def targets(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) int64 class indices of the manifest's labels, -1 where there is none."""
    return manifest["label"].map({c: i for i, c in enumerate(CLASSES)}).fillna(-1).to_numpy(np.int64)
