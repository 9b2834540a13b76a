"""Checks every image of a source and lists the good ones in the manifest, the others with their reason."""

import difflib
import os
import stat
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.data.images import ImageError, decode, sha256
from wbc.data.leaks import copies, copy_of, perceptual_hash, two_labels
from wbc.data.sources import Item, SourceError, mask_of, scan
from wbc.data.split import held_back
from wbc.parallel import parallel_map

HASHES = Path("data/hashes.npy")  # of the images that the manifest lists
COLUMNS = ["id", "path", "sha256", "width", "height", "label", "part", "mask", "group", "copy_of"]


class Ingested(NamedTuple):
    """What a source holds."""

    manifest: pd.DataFrame  # the usable images
    rejects: pd.DataFrame  # the others: name, reason (of a dozen), detail
    leaks: pd.DataFrame  # as `wbc.data.leaks` returns them
    hashes: np.ndarray  # (N, 4) uint64 perceptual hashes of the usable images


def ingest(source: str, root: Path, test_fraction: float, seed: int, strict: bool = False) -> Ingested:
    """List the usable images of `data.source` under `root`.

    Where the source has no test part, `test_fraction` of each class is held back, an image with all its copies and its
    group; which images, depends on the seed and their content alone, never on names or order. A label counts without
    the blanks around it and in no other spelling. Of equal ids the first counts, unless their labels differ.

    Returns:
        The manifest, with the columns `COLUMNS`: `path` and `mask` relative to the working directory (`mask` is ""
        where there is none), sizes in pixels, `label` one of `CLASSES` or "" in an unlabelled test part, `part`
        train or test, `group` such as the patient ("": unknown), `copy_of` the first image that this one is a copy of
        ("": none); rejects and leaks.

    Raises:
        SourceError: the source cannot be read, no labelled training image or no test image is usable, or `strict` and
            any is not.
        ListError, OSError: see `wbc.data.sources.scan`.
    """
    items = scan(source, root)
    manifest, hashes, rejects, contradicted = _checked(items, root, strict)
    manifest["copy_of"] = copy_of(manifest["id"], hashes)
    tested = any(item.part == "test" for item in items)
    if not tested and len(manifest):
        manifest["part"] = held_back(manifest, test_fraction, seed).map({True: "test", False: "train"})
    manifest["part"] = manifest["part"].replace("", "train")
    if not manifest["part"].eq("train").any():
        raise SourceError(f"{root}: no usable labelled training image among {len(items)} images{_first(rejects)}")
    if not manifest["part"].eq("test").any():
        if tested:
            raise SourceError(f"{root}: no usable test image{_first(rejects)}")
        raise SourceError(f"{root}: data.test_fraction = {test_fraction} holds back none of {len(manifest)} images")
    leaks = pd.concat([copies(manifest, hashes), contradicted], ignore_index=True)
    return Ingested(manifest, _table(rejects), leaks, hashes)


def collect(source: str, root: Path, home: pd.DataFrame, hashes: np.ndarray, strict: bool = False) -> Ingested:
    """List the labelled images of a source that no model has learned from, all of them to test on.

    Args:
        source: as for `ingest`.
        root: as for `ingest`.
        home: the study's manifest. Whatever of the source it has too, byte for byte or nearly, is rejected.
        hashes: (N, 4) uint64, of its images.
        strict: as for `ingest`.

    Returns:
        As `ingest`; there are no leaks, as all is of the test part.

    Raises:
        SourceError: the source cannot be read, no image is usable, or `strict` and any is not.
        ListError, OSError: see `wbc.data.sources.scan`.
    """
    items = [replace(item, part="train") for item in scan(source, root) if item.label]
    manifest, found, rejects, _ = _checked(items, root, strict)
    ids = pd.concat(["home " + home["id"], "away " + manifest["id"]], ignore_index=True)
    first = copy_of(ids, np.concatenate([hashes, found]))[len(home) :].reset_index(drop=True)
    known = first.str.startswith("home ").to_numpy(bool)
    for id, other in zip(manifest["id"][known], first[known], strict=True):
        rejects.append((id, "copy of an image at home", other.removeprefix("home ")))
    if known.all():
        raise SourceError(f"{root}: no usable labelled image among {len(items)} images{_first(rejects)}")
    manifest = manifest[~known].reset_index(drop=True).assign(part="test")
    return Ingested(manifest, _table(rejects), copies(manifest, found[~known]), found[~known])


def _checked(
    items: list[Item], root: Path, strict: bool
) -> tuple[pd.DataFrame, np.ndarray, list[tuple[str, str, str]], pd.DataFrame]:
    """A source's usable items, their perceptual hashes, the other items, and of these what is under two labels."""
    rejects: list[tuple[str, str, str]] = []

    def reject(name: str, why: str) -> None:
        name = name.encode(errors="backslashreplace").decode()  # a name that is not UTF-8 must be writable
        if strict:
            raise SourceError(f"{root}: {name!r}: {why}; correct it or take it out, or set data.strict to false")
        reason, _, detail = why.partition(": ")
        rejects.append((name, reason, detail))

    tasks = ((item, fault, root) for item, fault in zip(items, _faults(items), strict=True))
    rows, hashes = [], []
    for item, result in zip(items, parallel_map(_look, tasks, len(items), "ingest", threads=True), strict=True):
        if isinstance(result, str):
            reject(item.id, result)
        else:
            rows.append(result[0])
            hashes.append(result[1])
    manifest = pd.DataFrame(rows, columns=COLUMNS)
    hashes = np.array(hashes, np.uint64).reshape(-1, 4)

    contradicted = two_labels(manifest)
    for row in contradicted.itertuples():
        reject(row.id, f"same image under two labels: {row.other}")
    kept = ~manifest["id"].isin(contradicted["id"]).to_numpy()
    manifest, hashes = manifest[kept].reset_index(drop=True), hashes[kept]

    return manifest, hashes, rejects, contradicted


def _table(rejects: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rejects, columns=["name", "reason", "detail"])


def _first(rejects: list[tuple[str, str, str]]) -> str:
    """Why the first one was rejected, as the end of a message."""
    return f"; first reason: {rejects[0][0]!r}: {': '.join(filter(None, rejects[0][1:]))}" if rejects else ""


def _faults(items: list[Item]) -> list[str]:
    """Why each item cannot be used by what its source says alone: a reason, or "" where nothing speaks against it."""
    labels = defaultdict(set)
    for item in items:
        labels[item.id].add(item.label)
    ids, files, faults = set(), {}, []
    for item in items:
        contradictions = labels[item.id] - {""}
        if item.fault:
            fault = item.fault
        elif item.part not in ("", "train", "test"):
            fault = f"unknown part: {item.part!r} is neither train nor test"
        elif item.label not in CLASSES and (item.label or item.part != "test"):
            fault = _label_fault(item.label)
        elif len(contradictions) > 1:
            fault = f"id under two labels: {', '.join(sorted(contradictions))}"
        elif item.id in ids:
            fault = "duplicate id"
        elif item.path in files:
            fault = f"same file as another id: {files[item.path]}"
        else:
            fault = ""
            ids.add(item.id)
            files[item.path] = item.id
        faults.append(fault)
    return faults


def _label_fault(label: str) -> str:
    if not label:
        return "no label"
    close = difflib.get_close_matches(label.upper(), CLASSES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(CLASSES)}"
    return f"unknown label: {label!r}; {hint}"


def _look(item: Item, fault: str, root: Path) -> tuple[tuple, np.ndarray] | str:
    """The manifest's row of an item and its perceptual hash, or why it is rejected."""
    if fault:
        return fault
    try:
        str(item.path).encode()
    except UnicodeEncodeError:
        return "name is not UTF-8"
    if not Path(os.path.realpath(item.path)).is_relative_to(os.path.realpath(root)):  # copes with a link to itself
        return "path outside the folder"
    try:
        if not stat.S_ISREG(item.path.stat().st_mode):
            return "not a file"  # a pipe would be waited on
        content = item.path.read_bytes()
        image = decode(content)
    except OSError as error:
        return f"unreadable file: {error.strerror}"
    except ImageError as error:
        return str(error)
    height, width, _ = image.shape
    mask = mask_of(item.path)
    row = (
        item.id,
        _relative(item.path),
        sha256(content),
        width,
        height,
        item.label,
        item.part,
        _relative(mask) if mask else "",
        item.group,
        "",  # whether it is a copy, all of them together will show
    )
    return row, perceptual_hash(image)


def _relative(path: Path) -> str:
    return Path(os.path.relpath(path)).as_posix()
