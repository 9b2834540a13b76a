"""Checks every image of a source and lists the good ones in the manifest, the others with their reason."""

import difflib
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.core.parallel import parallel_map
from wbc.dataset.images import FEW_LEVELS, ImageError, decode, grey_levels, sha256
from wbc.dataset.leaks import copies, copy_of, divided_groups, first_copy, perceptual_hash, two_labels
from wbc.dataset.split import held_back
from wbc.sources import UNUSED, VALIDATION, Item, Scanned, SourceError, mask_of, scan_all

NOTES = {  # what is said of `Ingested.notes`
    "left_out": "left out",
    "other": "other files",
    "difference": "more images than the published archive has, fewer if negative",
    "few_levels": f"at most {FEW_LEVELS} grey levels, so that bits may have been lost before",
    "in_one_source": "in one source alone, so that a network may learn the laboratory instead",
}
FEW_SHARE = 0.05  # of images with so few grey levels, above which it is no chance
COLUMNS = ["id", "path", "sha256", "width", "height", "label", "part", "mask", "group", "copy_of"]


class Ingested(NamedTuple):
    """What a source holds."""

    manifest: pd.DataFrame  # the usable images
    rejects: pd.DataFrame  # the others: name, reason (of a dozen), detail
    leaks: pd.DataFrame  # as `wbc.dataset.leaks` returns them
    hashes: np.ndarray  # (N, 4) uint64 perceptual hashes of the usable images
    notes: dict[str, dict]  # `left_out`, `other`, `difference` of `scan`; `in_one_source`: classes; none is empty


def ingest(
    source: str | Sequence[str],
    root: Path,
    test_fraction: float,
    seed: int,
    strict: bool = False,
) -> Ingested:
    """List the usable images of `data.source` under `root`.

    Where the source has no test part, `test_fraction` of each class is held back, an image with all its copies and its
    group; which images, depends on the seed and their content alone, never on names or order. A label counts without
    the blanks around it and in no other spelling. Of equal ids the first counts, unless their labels differ.

    Of several sources the images are one pool. Where some have a test part and others none, these are for training
    alone, and nothing is held back. An image that is no test image is rejected where another source tests a copy of it:
    what a source's own parts share, its publisher decided, but nobody did of two sources.

    Returns:
        The manifest, with the columns `COLUMNS`: `path` and `mask` ("" where there is none) begin with `root` as it is
        given, so that they are the same wherever the working directory lies; sizes in pixels, `label` one of `CLASSES`
        or "" in an unlabelled test part, `part` train or test, `group` such as the patient ("": unknown), `copy_of` the
        first image that this one is a copy of ("": none); rejects and leaks.

    Raises:
        SourceError: the source cannot be read, no labelled training image or no test image is usable, or `strict` and
            any is not, an image is unused, or a public set's archive is not whole.
        ListError, OSError: see `wbc.sources.scan`.
    """
    scanned = scan_all(source, root)
    items = [item for one in scanned for item in one.items]
    manifest, hashes, rejects, contradicted, notes = _checked(scanned, root, strict)
    manifest["copy_of"] = copy_of(manifest["id"], hashes)
    if len(scanned) > 1 and (elsewhere := _tested_elsewhere(manifest)):
        for id, other in elsewhere.items():
            rejects.add(id, f"copy of another source's test image: {other}")
        manifest, hashes = _without(elsewhere, manifest, hashes)
        manifest["copy_of"] = copy_of(manifest["id"], hashes)
    tested = any(item.part == "test" for item in items)
    if not tested and len(manifest):
        manifest["part"] = held_back(manifest, test_fraction, seed).map({True: "test", False: "train"})
    manifest["part"] = manifest["part"].replace("", "train")
    if not manifest["part"].eq("train").any():
        raise SourceError(f"{root}: no usable labelled training image among {len(items)} images{rejects.first}")
    if not manifest["part"].eq("test").any():
        if tested:
            raise SourceError(f"{root}: no usable test image{rejects.first}")
        raise SourceError(f"{root}: data.test_fraction = {test_fraction} holds back none of {len(manifest)} images")
    leaks = pd.concat([copies(manifest, hashes), divided_groups(manifest, hashes), contradicted], ignore_index=True)
    if len(scanned) > 1 and (alone := _in_one_source(manifest)):
        notes["in_one_source"] = alone
    return Ingested(manifest, rejects.table, leaks, hashes, notes)


def nothing() -> Ingested:
    """A set without images: one that the study leaves out."""
    empty = pd.DataFrame(columns=COLUMNS)
    leaks = copies(empty, hashes := np.empty((0, 4), np.uint64))
    return Ingested(empty, pd.DataFrame(columns=["name", "reason", "detail"]), leaks, hashes, {})


def collect(source: str, root: Path, home: pd.DataFrame, hashes: np.ndarray, strict: bool = False) -> Ingested:
    """List the labelled images of a source that no model has learned from, all of them to test on.

    Args:
        source: one of `data.source`.
        root: its folder.
        home: the study's manifest. Whatever of the source it has too, byte for byte or nearly, is rejected.
        hashes: (N, 4) uint64, of its images.
        strict: as for `ingest`.

    Returns:
        As `ingest`; the only leaks are images under two labels, as all is of the test part.

    Raises:
        SourceError: the source cannot be read, no image is usable, or `strict` and any is not.
        ListError, OSError: see `wbc.sources.scan`.
    """
    (scanned,) = scan_all(source, root)
    # in the training part a label must be
    items = [replace(item, part="train") for item in scanned.items if item.label or item.fault]
    left_out = scanned.left_out | ({"no label": n} if (n := len(scanned.items) - len(items)) else {})
    scanned = scanned._replace(items=items, left_out=left_out)
    manifest, found, rejects, contradicted, notes = _checked([scanned], root, strict)
    ids = pd.concat(["home " + home["id"], "away " + manifest["id"]], ignore_index=True)
    first = copy_of(ids, np.concatenate([hashes, found]))[len(home) :]
    known = {
        id: other.removeprefix("home ")
        for id, other in zip(manifest["id"], first, strict=True)
        if other.startswith("home ")
    }
    for id, other in known.items():
        rejects.add(id, f"copy of an image at home: {other}")
    manifest, found = _without(known, manifest, found)
    if manifest.empty:
        raise SourceError(f"{root}: no usable labelled image among {len(scanned.items)} images{rejects.first}")
    return Ingested(manifest.assign(part="test"), rejects.table, contradicted, found, notes)


class _Rejects(list[tuple[str, str, str]]):
    """Name, reason and detail of what cannot be used; if `strict`, the first one is an error."""

    def __init__(self, root: Path, strict: bool):
        super().__init__()
        self.root, self.strict = root, strict

    def add(self, name: str, why: str) -> None:
        name = name.encode(errors="backslashreplace").decode()  # a name that is not UTF-8 must be writable
        if self.strict:
            raise SourceError(f"{self.root}: {name!r}: {why}; correct it or take it out, or set data.strict to false")
        reason, _, detail = why.partition(": ")
        self.append((name, reason, detail))

    @property
    def first(self) -> str:
        """The first one, as a message ends."""
        return f"; first reason: {self[0][0]!r}: {': '.join(filter(None, self[0][1:]))}" if self else ""

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(list(self), columns=["name", "reason", "detail"])


def _checked(
    scanned: Sequence[Scanned], root: Path, strict: bool
) -> tuple[pd.DataFrame, np.ndarray, _Rejects, pd.DataFrame, dict[str, dict]]:
    """The sources' usable items, their perceptual hashes, the other items, of these what is under two labels, notes."""
    for one in scanned:
        if strict and one.difference:
            (label, count), more = next(iter(one.difference.items())), len(one.difference) - 1
            why = f"{label} {count:+} images" + f", and {more} labels more" * bool(more)
            raise SourceError(f"{one.root}: not the whole archive: {why}; complete it, or set data.strict to false")
        if strict and one.unused:
            why = f"{one.left_out[UNUSED]} images are {UNUSED}, the first {one.unused!r}"
            raise SourceError(f"{one.root}: {why}; list them or take them out, or set data.strict to false")
    items = [item for one in scanned for item in one.items]
    roots = [one.root for one in scanned for _ in one.items]
    rejects = _Rejects(root, strict)
    tasks = zip(items, _faults(items), roots, strict=True)
    rows, hashes, few = [], [], 0
    results = parallel_map(_look, tasks, len(items), "ingest", threads=True)
    for item, result in zip(items, results, strict=True):
        if isinstance(result, str):
            rejects.add(item.id, result)
        else:
            rows.append(result[0])
            hashes.append(result[1])
            few += result[2]
    manifest = pd.DataFrame(rows, columns=COLUMNS)
    hashes = np.array(hashes, np.uint64).reshape(-1, 4)

    contradicted = two_labels(manifest, hashes)
    for row in contradicted.itertuples():
        rejects.add(row.id, f"same image under two labels: {row.other}")
    manifest, hashes = _without(contradicted["id"], manifest, hashes)

    notes = {"few_levels": {"images": few, "of": len(rows)} if few > FEW_SHARE * len(rows) else {}}
    for name in ("left_out", "other", "difference"):
        notes[name] = {key: count for one in scanned for key, count in getattr(one, name).items()}
    return manifest, hashes, rejects, contradicted, {name: note for name, note in notes.items() if note}


def _without(ids: Collection[str], manifest: pd.DataFrame, hashes: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The manifest and its hashes without some images."""
    kept = ~manifest["id"].isin(ids).to_numpy()
    return manifest[kept].reset_index(drop=True), hashes[kept]


def _sources(manifest: pd.DataFrame) -> pd.Series:
    """The source of each image, where there are several."""
    return manifest["id"].str.partition("/")[0]


def _in_one_source(manifest: pd.DataFrame) -> dict[str, str]:
    """The classes that only one of several sources has, with its name."""
    labelled = manifest[manifest["label"] != ""]
    sources = _sources(labelled).groupby(labelled["label"]).unique()
    return {label: sources[label][0] for label in CLASSES if label in sources and len(sources[label]) == 1}


def _tested_elsewhere(manifest: pd.DataFrame) -> dict[str, str]:
    """The images outside of every test part that another source tests a copy of, with the first such copy."""
    images = manifest[["id"]].assign(source=_sources(manifest), first=first_copy(manifest))
    tested = manifest["part"] == "test"
    pairs = images[~tested].merge(images[tested], on="first", suffixes=("", "_tested"))
    pairs = pairs[pairs["source"] != pairs["source_tested"]].drop_duplicates("id")
    return dict(zip(pairs["id"], pairs["id_tested"], strict=True))


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
        elif item.part in VALIDATION:
            fault = "validation part: it is drawn from the training images; make it train or test"
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


def _look(item: Item, fault: str, root: Path) -> tuple[tuple, np.ndarray, bool] | str:
    """The manifest's row of an item, its perceptual hash, whether it has few grey levels; or why it is rejected."""
    if fault:
        return fault
    try:
        str(item.path).encode()
    except UnicodeEncodeError:
        return "name is not UTF-8"
    if not Path(os.path.realpath(item.path)).is_relative_to(os.path.realpath(root)):  # copes with a link to itself
        return "link out of the folder: not followed; copy the file here, or make data.path itself a link"
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
        item.path.as_posix(),
        sha256(content),
        width,
        height,
        item.label,
        item.part,
        mask.as_posix() if mask else "",
        item.group,
        "",  # whether it is a copy, all of them together will show
    )
    return row, perceptual_hash(image), grey_levels(image) <= FEW_LEVELS
