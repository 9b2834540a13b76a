"""The files that pass between the stages, each with the fingerprint of the manifest that it was made from.

A file that was made from another one is refused: its rows are of other images, or of the same under other labels.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.errors import UserError
from wbc.io import atomic, write_csv

MANIFEST = Path("data/manifest.csv")
REJECTS = Path("data/rejects.csv")
LEAKS = Path("data/leaks.csv")
FOLDS = Path("data/folds")  # in it, and in the next, a file for each repeat
VALIDATION = Path("data/validation")
PIXELS = Path("data/images.npy")
LENGTH = 16  # hexadecimal digits of a fingerprint
SUBMISSION = ("ID", "labels")  # columns of a file that a leaderboard takes


def read_manifest(path: Path = MANIFEST) -> pd.DataFrame:
    """The manifest as `wbc.data.ingest` returned it."""
    text = dict.fromkeys(("id", "path", "sha256", "label", "part", "mask", "group", "copy_of", "home"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False)


def fingerprint(manifest: pd.DataFrame) -> str:
    """Hexadecimal digits that change with the images, their order, labels and parts, not with where the files are."""
    rows = manifest.drop(columns=["path", "mask"], errors="ignore").astype(str)
    return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()[:LENGTH]


def check(file: str | Path, found: str | None, manifest: pd.DataFrame, stage: str) -> None:
    """Compare the fingerprint found in a file.

    Raises:
        UserError: it is another manifest's, or none.
    """
    if found != fingerprint(manifest):
        raise UserError(f"{file} was made from other images or labels than the manifest's; run: dvc repro {stage}")


def read_split(folder: Path, repeat: int, manifest: pd.DataFrame) -> np.ndarray:
    """(N,) the folds or validation places as `wbc.data.split` returned them, row by row those of the manifest.

    Raises:
        UserError: see `check`.
    """
    path = folder / f"{repeat}.csv"
    table = pd.read_csv(path, converters={"id": str, "manifest": str})
    same = "manifest" in table and table["id"].tolist() == manifest["id"].tolist()
    check(path, table["manifest"][0] if same else None, manifest, f"{folder.name}@{repeat}")
    return table.iloc[:, 1].to_numpy()


def write_split(folder: Path, repeat: int, manifest: pd.DataFrame, values: pd.Series) -> None:
    """Write one value of each image, to the last bit."""
    table = pd.DataFrame({"id": manifest["id"], values.name: values, "manifest": fingerprint(manifest)})
    with atomic(folder / f"{repeat}.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_npy(path: Path, manifest: pd.DataFrame, stage: str) -> np.ndarray:
    """A memory map of an array with a row per image; the fingerprint follows it, where readers of `.npy` do not look.

    Raises:
        UserError: see `check`.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LENGTH))
        check(path, file.read().decode(errors="replace"), manifest, stage)
    return np.load(path, mmap_mode="r")


def write_npy(path: Path, manifest: pd.DataFrame, shape: Sequence[int], dtype: str, rows: Iterable[np.ndarray]) -> None:
    """Write an array with a row of `shape` and `dtype` per image, one at a time."""
    header = {"descr": dtype, "fortran_order": False, "shape": (len(manifest), *shape)}
    # written from front to back: a disk that fills up under a memory map kills the process
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            file.write(row.tobytes())
        file.write(fingerprint(manifest).encode())


def read_npz(path: str | Path, manifest: pd.DataFrame, stage: str) -> np.lib.npyio.NpzFile:
    """An archive of arrays, whose comment is the fingerprint; to be closed by `with`.

    Raises:
        UserError: see `check`.
    """
    stored = np.load(path)
    check(path, stored.zip.comment.decode(errors="replace"), manifest, stage)
    return stored


def read_features(path: str | Path, manifest: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Features by id, in the manifest's order.

    Raises:
        UserError: see `check`.
    """
    table = pd.read_parquet(path)
    check(path, table.attrs.get("manifest"), manifest, stage)
    return table.loc[manifest["id"]]


def write_features(path: str | Path, manifest: pd.DataFrame, names: Sequence[str], values: Any) -> pd.DataFrame:
    """Write (N, D) features of the manifest's images, and return them as a table."""
    table = pd.DataFrame(values, columns=names, index=pd.Index(manifest["id"], name="id"))
    table.attrs["manifest"] = fingerprint(manifest)
    with atomic(path) as temporary:
        table.to_parquet(temporary)
    return table


def targets(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) int64 class indices of the manifest's labels, -1 where there is none."""
    return manifest["label"].map({c: i for i, c in enumerate(CLASSES)}).fillna(-1).to_numpy(np.int64)


def write_submission(path: str | Path, ids: Iterable[str], predicted: Iterable[int]) -> None:
    """Write N predicted class indices, one image a row, as a leaderboard takes them: `ID,labels`."""
    write_csv(path, SUBMISSION, [(id, CLASSES[target]) for id, target in zip(ids, predicted, strict=True)])
