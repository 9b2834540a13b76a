"""Checks every image of a source and lists the good ones in the manifest, the others with their reason."""

import difflib
import os
import stat
from collections import defaultdict
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

COLUMNS = ["id", "path", "sha256", "width", "height", "label", "part", "mask", "group", "copy_of"]


class Ingested(NamedTuple):
    """What a source holds."""

    manifest: pd.DataFrame  # the usable images
    rejects: pd.DataFrame  # the others: name, reason (of a dozen), detail
    leaks: pd.DataFrame  # as `wbc.data.leaks` returns them


def ingest(
    source: str, root: Path, test_fraction: float, seed: int, strict: bool = False, backend: str = "loky"
) -> Ingested:
    """List the usable images of `data.source` under `root`.

    Where the source has no test part, `test_fraction` of each class is held back, an image with all its copies and its
    group; which images, depends on the seed and their content alone, never on names or order. A label counts without
    the blanks around it and in no other spelling. Of equal ids the first counts, unless their labels differ. `backend`
    is that of `wbc.parallel.parallel_map`.

    Returns:
        The manifest, with the columns `COLUMNS`: `path` and `mask` relative to the working directory (`mask` is ""
        where there is none), sizes in pixels, `label` one of `CLASSES` or "" in an unlabelled test part, `part`
        train or test, `group` such as the patient ("": unknown), `copy_of` the first image that this one is a copy of
        ("": none); rejects and leaks.

    Raises:
        SourceError: the source cannot be read, no labelled training image or no test image is usable, or `strict` and
            any is not.
        ListError, OSError: see `wbc.data.sources.scan`.
        ClusterError: see `wbc.parallel.cluster`.
    """
    items = scan(source, root)
    rejects: list[tuple[str, str, str]] = []

    def reject(name: str, why: str) -> None:
        name = name.encode(errors="backslashreplace").decode()  # a name that is not UTF-8 must be writable
        if strict:
            raise SourceError(f"{root}: {name!r}: {why}; correct it or take it out, or set data.strict to false")
        reason, _, detail = why.partition(": ")
        rejects.append((name, reason, detail))

    tasks = ((item, fault, root) for item, fault in zip(items, _faults(items), strict=True))
    rows, prints = [], []
    results = parallel_map(_look, tasks, len(items), "ingest", threads=True, backend=backend)
    for item, result in zip(items, results, strict=True):
        if isinstance(result, str):
            reject(item.id, result)
        else:
            rows.append(result[0])
            prints.append(result[1])
    manifest = pd.DataFrame(rows, columns=COLUMNS)
    prints = np.array(prints, np.uint64).reshape(-1, 4)

    contradicted = two_labels(manifest)
    for row in contradicted.itertuples():
        reject(row.id, f"same image under two labels: {row.other}")
    kept = ~manifest["id"].isin(contradicted["id"]).to_numpy()
    manifest, prints = manifest[kept].reset_index(drop=True), prints[kept]

    manifest["copy_of"] = copy_of(manifest["id"], prints)
    tested = any(item.part == "test" for item in items)
    if not tested and len(manifest):
        manifest["part"] = held_back(manifest, test_fraction, seed).map({True: "test", False: "train"})
    manifest["part"] = manifest["part"].replace("", "train")
    why = f"; first reason: {rejects[0][0]!r}: {': '.join(filter(None, rejects[0][1:]))}" if rejects else ""
    if not manifest["part"].eq("train").any():
        raise SourceError(f"{root}: no usable labelled training image among {len(items)} images{why}")
    if not manifest["part"].eq("test").any():
        if tested:
            raise SourceError(f"{root}: no usable test image{why}")
        raise SourceError(f"{root}: data.test_fraction = {test_fraction} holds back none of {len(manifest)} images")
    leaks = pd.concat([copies(manifest, prints), contradicted], ignore_index=True)
    return Ingested(manifest, pd.DataFrame(rejects, columns=["name", "reason", "detail"]), leaks)


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
