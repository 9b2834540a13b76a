"""Where stages keep their outputs, and the tables that they read from each other.

`read_external`, `read_features`, `read_masks` and `read_pixels` raise a `UserError` as `check` does.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic, write_csv, write_text

# INGEST, PIXELS, MASKS and FEATURES have a folder for each image set, SPLIT one for each repeat
INGEST, SPLIT = Path("data/ingest"), Path("data/split")
PIXELS, MASKS, FEATURES = Path("data/pixels"), Path("data/masks"), Path("data/features")
RUNS = Path("runs")
MARK = "manifest.sha256"  # in an output folder: fingerprint of the manifests that the outputs were made from
SUBMISSION = ("ID", "labels")  # columns of a leaderboard's submission


def read_manifest(image_set: str = STUDY) -> pd.DataFrame:
    """The manifest of an image set, as `wbc.dataset.ingest` returned it."""
    text = dict.fromkeys(("id", "path", "sha256", "label", "part", "mask", "group", "copy_of"), str)
    return pd.read_csv(INGEST / image_set / "manifest.csv", dtype=text, keep_default_na=False)


def fingerprint(*sets: str) -> str:
    """SHA-256 of the manifests of image sets, without the places of their files."""
    digest = hashlib.sha256()
    for image_set in sets:
        rows = read_manifest(image_set).drop(columns=["path", "mask"]).astype(str)
        digest.update(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def mark(folder: Path, *sets: str) -> None:
    """Write the fingerprint of the image sets that the outputs in `folder` were made from."""
    write_text(folder / MARK, fingerprint(*sets) + "\n")


def check(folder: Path, stage: str, *sets: str) -> None:
    """Compare the fingerprint that `mark` wrote with today's manifests of the image sets.

    Raises:
        UserError: the outputs are of other images or labels. The message names `stage`, DVC's name of what makes them.
    """
    path = folder / MARK
    if not path.exists() or path.read_text(encoding="utf-8").strip() != fingerprint(*sets):
        raise UserError(f"{folder}: made from other images or labels than {INGEST}/ has; run: dvc repro {stage}")


def _checked(folder: Path, stage: str, image_set: str) -> Path:
    """The folder of an image set's outputs, after `check`."""
    check(folder / image_set, f"{stage}{'' if image_set == STUDY else '_external'}@{image_set}", image_set)
    return folder / image_set


def read_external(image_set: str) -> pd.DataFrame:
    """The manifest of an external set, which leaves out the study's own images."""
    check(INGEST / image_set, f"ingest_external@{image_set}", STUDY)
    return read_manifest(image_set)


def read_split(kind: str, repeat: int) -> np.ndarray:
    """(N,) `folds` or `validation` values, as `wbc.dataset.split` returned them, in the manifest's order.

    Raises:
        UserError: the split is of other images than the manifest.
    """
    path = SPLIT / f"{repeat}/{kind}.csv"
    table = pd.read_csv(path, converters={"id": str})
    if table["id"].tolist() != read_manifest()["id"].tolist():
        raise UserError(f"{path}: of other images than {INGEST}/ has; run: dvc repro split@{repeat}")
    return table.iloc[:, 1].to_numpy()


def write_split(kind: str, repeat: int, ids: pd.Series, values: pd.Series) -> None:
    """Write one value per image, without rounding."""
    with atomic(SPLIT / f"{repeat}/{kind}.csv") as temporary:
        pd.concat([ids, values], axis=1).to_csv(temporary, index=False, lineterminator="\n")


def read_features(image_set: str, features: str) -> pd.DataFrame:
    """(N, D) features of an image set, indexed by id, in the manifest's order."""
    folder = _checked(FEATURES, "features", image_set)
    return pd.read_parquet(folder / f"{features}.parquet").loc[read_manifest(image_set)["id"]]


def read_pixels(image_set: str) -> np.ndarray:
    """(N, size, size, 3) uint8 memory map of an image set's packed images, in the manifest's order."""
    return np.load(_checked(PIXELS, "pack", image_set) / "images.npy", mmap_mode="r")


def read_masks(image_set: str, method: str) -> np.lib.npyio.NpzFile:
    """The masks of an image set by one method, keyed by id. Close the file after use."""
    return np.load(_checked(MASKS, "segment", image_set) / f"{method}.npz")


def targets(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) int64 class indices of the manifest's labels, -1 for an image without label."""
    return pd.Index(CLASSES).get_indexer(manifest["label"]).astype(np.int64)


def write_submission(path: str | Path, ids: Iterable[str], predicted: Iterable[int]) -> None:
    """Write the predicted class index of each id as a submission, with the columns `ID,labels`."""
    write_csv(path, SUBMISSION, [(id, CLASSES[target]) for id, target in zip(ids, predicted, strict=True)])
