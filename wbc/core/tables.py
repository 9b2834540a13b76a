"""Where the stages keep what they make, and the small tables that pass between them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from wbc.config import STUDY
from wbc.core.classes import CLASSES
from wbc.core.io import atomic, write_csv

INGEST = Path("data/ingest")  # in it, as in the next but one's, a folder for each set of images
SPLIT = Path("data/split")  # in it a folder for each repeat
PIXELS, MASKS, FEATURES = Path("data/pixels"), Path("data/masks"), Path("data/features")
RUNS = Path("runs")
SUBMISSION = ("ID", "labels")  # columns of a file that a leaderboard takes


def read_manifest(of: str = STUDY) -> pd.DataFrame:
    """The manifest of a set of images, as `wbc.dataset.ingest` returned it."""
    text = dict.fromkeys(("id", "path", "sha256", "label", "part", "mask", "group", "copy_of"), str)
    return pd.read_csv(INGEST / of / "manifest.csv", dtype=text, keep_default_na=False)


def read_hashes(of: str = STUDY) -> np.ndarray:
    """(N, 4) uint64 perceptual hashes of the manifest's images."""
    return np.load(INGEST / of / "hashes.npy")


def read_split(kind: str, repeat: int) -> np.ndarray:
    """(N,) the `folds` or the `validation` places, as `wbc.dataset.split` returned them, in the manifest's order."""
    return pd.read_csv(SPLIT / f"{repeat}/{kind}.csv", usecols=[1]).to_numpy().ravel()


def write_split(kind: str, repeat: int, ids: pd.Series, values: pd.Series) -> None:
    """Write one value of each image, to the last bit."""
    with atomic(SPLIT / f"{repeat}/{kind}.csv") as temporary:
        pd.concat([ids, values], axis=1).to_csv(temporary, index=False, lineterminator="\n")


def read_features(of: str, features: str) -> pd.DataFrame:
    """(N, D) features of a set of images, by id."""
    return pd.read_parquet(FEATURES / of / f"{features}.parquet")


def targets(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) int64 class indices of the manifest's labels, -1 where there is none."""
    return manifest["label"].map({c: i for i, c in enumerate(CLASSES)}).fillna(-1).to_numpy(np.int64, copy=True)


def write_submission(path: str | Path, ids: Iterable[str], predicted: Iterable[int]) -> None:
    """Write N predicted class indices, one image a row, as a leaderboard takes them: `ID,labels`."""
    write_csv(path, SUBMISSION, [(id, CLASSES[target]) for id, target in zip(ids, predicted, strict=True)])
