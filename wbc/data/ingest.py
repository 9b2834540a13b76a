"""Checks every image of a source and lists the good ones in the manifest, the others with their reason."""

import os
from collections import Counter
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from wbc.classes import CLASSES
from wbc.data.folder import Item, SourceError, mask_of, scan
from wbc.data.images import ImageError, decode, sha256
from wbc.data.split import order

COLUMNS = ["id", "path", "sha256", "width", "height", "label", "part", "mask"]


def ingest(root: Path, test_fraction: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List the usable images under `root`.

    Where the source has no test part, `test_fraction` of each class is held back; which images, depends on the seed
    and their content alone, never on names or order.

    Returns:
        The manifest, with the columns `COLUMNS`: `path` and `mask` relative to the working directory (`mask` is ""
        where there is none), sizes in pixels, `label` one of `CLASSES` or "" in an unlabelled test part, `part`
        train or test. And the rejects: `name`, `reason`.

    Raises:
        SourceError: nothing usable is left.
    """
    items = scan(root)
    repeated = {id for id, n in Counter(item.id for item in items).items() if n > 1}
    looked = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(delayed(_look)(i, root) for i in items)
    rows, rejects, seen = [], [], set()
    for item, result in zip(items, tqdm(looked, "ingest", len(items), disable=None), strict=True):
        if item.id in repeated and item.id in seen:
            result = "duplicate id"
        seen.add(item.id)
        if isinstance(result, str):
            rejects.append((item.id, result))
        else:
            rows.append(result)
    manifest = pd.DataFrame(rows, columns=COLUMNS)
    labels_of = (
        manifest.assign(label=manifest["label"].replace("", None)).groupby("sha256")["label"].transform("nunique")
    )
    rejects += [(id, "same image under two labels") for id in manifest.loc[labels_of > 1, "id"]]
    manifest = manifest[labels_of <= 1].reset_index(drop=True)
    if not (manifest["label"] != "").any():
        why = f"; first reason: {rejects[0][0]}: {rejects[0][1]}" if rejects else ""
        raise SourceError(f"{root}: no usable labelled image among {len(items)}{why}")
    if not manifest["part"].eq("test").any():
        held = order(manifest, seed, "test") < test_fraction
        manifest["part"] = held.map({True: "test", False: "train"})
    manifest["part"] = manifest["part"].replace("", "train")
    return manifest, pd.DataFrame(rejects, columns=["name", "reason"])


def _look(item: Item, root: Path) -> tuple | str:
    """The manifest's row of an item, or why it is rejected."""
    if not item.id:
        return "empty id"
    if item.part not in ("", "train", "test"):
        return f"part {item.part!r} is neither train nor test"
    if item.label not in CLASSES and not (item.label == "" and item.part == "test"):
        return f"unknown label {item.label!r}" if item.label else "no label"
    if item.path is None:
        return "no such file"
    if not item.path.resolve().is_relative_to(root.resolve()):
        return "path outside the folder"
    try:
        content = item.path.read_bytes()
        height, width, _ = decode(content).shape
    except OSError as error:
        return f"unreadable file: {error.strerror}"
    except ImageError as error:
        return str(error)
    mask = mask_of(item.path)
    return (
        item.id,
        _relative(item.path),
        sha256(content),
        width,
        height,
        item.label,
        item.part,
        _relative(mask) if mask else "",
    )


def _relative(path: Path) -> str:
    return Path(os.path.relpath(path)).as_posix()
