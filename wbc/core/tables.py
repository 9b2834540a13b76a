"""Where the stages keep what they make, and the small tables that pass between them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic, write_csv, write_text

INGEST = Path("data/ingest")  # in it, as in the next but one's, a folder for each set of images
SPLIT = Path("data/split")  # in it a folder for each repeat
PIXELS, MASKS, FEATURES = Path("data/pixels"), Path("data/masks"), Path("data/features")
RUNS = Path("runs")
MARK = "manifest.sha256"  # in a folder of outputs: the fingerprint of the manifests that they were made from
SUBMISSION = ("ID", "labels")  # columns of a file that a leaderboard takes


def read_manifest(of: str = STUDY) -> pd.DataFrame:
    """The manifest of a set of images, as `wbc.dataset.ingest` returned it."""
    text = dict.fromkeys(("id", "path", "sha256", "label", "part", "mask", "group", "copy_of"), str)
    return pd.read_csv(INGEST / of / "manifest.csv", dtype=text, keep_default_na=False)


def fingerprint(*sets: str) -> str:
    """Hexadecimal digits that change with the sets' images, their order, labels and parts, not with where files are."""
    digest = hashlib.sha256()
    for of in sets:
        rows = read_manifest(of).drop(columns=["path", "mask"]).astype(str)
        digest.update(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def mark(folder: Path, *sets: str) -> None:
    """Note in a folder of outputs which images they were made from."""
    write_text(folder / MARK, fingerprint(*sets) + "\n")


def check(folder: Path, stage: str, *sets: str) -> None:
    """Compare what `mark` noted with today's manifests: rows of a file are matched with theirs.

    Args:
        folder: of outputs.
        stage: that makes them, as DVC calls it.
        sets: as for `mark`.

    Raises:
        UserError: the outputs were made from other images or labels, or `mark` noted nothing.
    """
    path = folder / MARK
    if not path.exists() or path.read_text(encoding="utf-8").strip() != fingerprint(*sets):
        raise UserError(f"{folder}: made from other images or labels than {INGEST}/ has; run: dvc repro {stage}")


def read_external(name: str) -> pd.DataFrame:
    """The manifest of an external set, from which the study's own images were left out.

    Raises:
        UserError: see `check`.
    """
    check(INGEST / name, f"ingest_external@{name}", STUDY)
    return read_manifest(name)


def stage_of(name: str, of: str) -> str:
    """What dvc.yaml calls a stage of a set of images."""
    return f"{name}@{of}" if of == STUDY else f"{name}_external@{of}"


def read_hashes(of: str = STUDY) -> np.ndarray:
    """(N, 4) uint64 perceptual hashes of the manifest's images."""
    return np.load(INGEST / of / "hashes.npy")


def read_split(kind: str, repeat: int) -> np.ndarray:
    """(N,) the `folds` or the `validation` places, as `wbc.dataset.split` returned them, in the manifest's order.

    Raises:
        UserError: they are of other images than the manifest's.
    """
    path = SPLIT / f"{repeat}/{kind}.csv"
    table = pd.read_csv(path, converters={"id": str})
    if table["id"].tolist() != read_manifest()["id"].tolist():
        raise UserError(f"{path}: of other images than {INGEST}/ has; run: dvc repro split@{repeat}")
    return table.iloc[:, 1].to_numpy()


def write_split(kind: str, repeat: int, ids: pd.Series, values: pd.Series) -> None:
    """Write one value of each image, to the last bit."""
    with atomic(SPLIT / f"{repeat}/{kind}.csv") as temporary:
        pd.concat([ids, values], axis=1).to_csv(temporary, index=False, lineterminator="\n")


def read_features(of: str, features: str) -> pd.DataFrame:
    """(N, D) features of a set of images, by id, in the manifest's order.

    Raises:
        UserError: see `check`.
    """
    check(FEATURES / of, stage_of("features", of), of)
    return pd.read_parquet(FEATURES / of / f"{features}.parquet").loc[read_manifest(of)["id"]]


def read_pixels(of: str) -> np.ndarray:
    """(N, size, size, 3) uint8 memory map of a set's packed images, in the manifest's order.

    Raises:
        UserError: see `check`.
    """
    check(PIXELS / of, stage_of("pack", of), of)
    return np.load(PIXELS / of / "images.npy", mmap_mode="r")


def read_masks(of: str, method: str) -> np.lib.npyio.NpzFile:
    """A set's masks by one method, by id; to be closed by `with`.

    Raises:
        UserError: see `check`.
    """
    check(MASKS / of, stage_of("segment", of), of)
    return np.load(MASKS / of / f"{method}.npz")


def targets(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) int64 class indices of the manifest's labels, -1 where there is none."""
    return manifest["label"].map({c: i for i, c in enumerate(CLASSES)}).fillna(-1).to_numpy(np.int64, copy=True)


def write_submission(path: str | Path, ids: Iterable[str], predicted: Iterable[int]) -> None:
    """Write N predicted class indices, one image a row, as a leaderboard takes them: `ID,labels`."""
    write_csv(path, SUBMISSION, [(id, CLASSES[target]) for id, target in zip(ids, predicted, strict=True)])
