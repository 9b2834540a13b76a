"""The small tables that pass between the steps, and the one file of pixels."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.io import atomic, write_csv

MANIFEST = Path("data/manifest.csv")
REJECTS = Path("data/rejects.csv")
LEAKS = Path("data/leaks.csv")
FOLDS = Path("data/folds")  # in it, and in the next, a file for each repeat
VALIDATION = Path("data/validation")
PIXELS = Path("data/images.npy")
SUBMISSION = ("ID", "labels")  # columns of a file that a leaderboard takes


def read_manifest(path: Path = MANIFEST) -> pd.DataFrame:
    """The manifest as `wbc.data.ingest` returned it."""
    text = dict.fromkeys(("id", "path", "sha256", "label", "part", "mask", "group", "copy_of"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False)


def read_split(folder: Path, repeat: int) -> np.ndarray:
    """(N,) the folds or validation places as `wbc.data.split` returned them, row by row those of the manifest."""
    return pd.read_csv(folder / f"{repeat}.csv", usecols=[1]).to_numpy().ravel()


def write_split(folder: Path, repeat: int, ids: pd.Series, values: pd.Series) -> None:
    """Write one value of each image, to the last bit."""
    with atomic(folder / f"{repeat}.csv") as temporary:
        pd.concat([ids, values], axis=1).to_csv(temporary, index=False, lineterminator="\n")


def targets(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) int64 class indices of the manifest's labels, -1 where there is none."""
    return manifest["label"].map({c: i for i, c in enumerate(CLASSES)}).fillna(-1).to_numpy(np.int64)


def write_submission(path: str | Path, ids: Iterable[str], predicted: Iterable[int]) -> None:
    """Write N predicted class indices, one image a row, as a leaderboard takes them: `ID,labels`."""
    write_csv(path, SUBMISSION, [(id, CLASSES[target]) for id, target in zip(ids, predicted, strict=True)])
