"""Check every image of a source: list the usable ones in a manifest, and the others with the reason."""

import difflib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.core.parallel import parallel_map
from wbc.dataset.images import FEW_LEVELS, ImageError, decode, grey_levels, sha256
from wbc.dataset.leaks import copies, copy_of, divided_groups, label_conflicts, near_copies, perceptual_hash
from wbc.dataset.split import draw_test_part
from wbc.sources import UNUSED, VALIDATION, Item, Scan, SourceError, scan_all

NOTES = {  # titles of `ImageSet.notes`
    "left_out": "left out",
    "other": "other files",
    "difference": "more images than the published archive has, fewer if negative",
    "few_levels": f"at most {FEW_LEVELS} grey levels, so bits may have been lost before",
    "in_one_source": "in one source only, so a network may learn the laboratory instead",
}
FEW_FRACTION = 0.05  # a larger fraction of images with so few grey levels is not chance
COLUMNS = ["id", "path", "sha256", "width", "height", "label", "part", "mask", "group", "copy_of"]


class ImageSet:
    """The usable images of sources, and what became of the others.

    Attributes:
        manifest: the usable images, columns `COLUMNS`.
        hashes: (N, 4) uint64, their perceptual hashes.
        rejects: the images that cannot be used: name, reason and detail.
        leaks: leaks and copies, see `wbc.dataset.leaks`.
        notes: by key of `NOTES`, counts by name; none is empty.
    """

    def __init__(self, scans: Sequence[Scan], root: Path, strict: bool = False):
        self.root, self.strict, self._rejects = root, strict, []
        for scan in scans if strict else ():
            _check_complete(scan)
        items = [item for scan in scans for item in scan.items]
        roots = [scan.root for scan in scans for _ in scan.items]
        tasks = zip(items, _faults(items), roots, strict=True)
        rows, hashes, few = [], [], 0
        for item, result in zip(items, parallel_map(_read, tasks, len(items), "ingest", threads=True), strict=True):
            if isinstance(result, str):
                self._reject(item.id, result)
            else:
                rows.append(result[0])
                hashes.append(result[1])
                few += result[2]
        self.manifest, self.hashes = pd.DataFrame(rows, columns=COLUMNS), np.array(hashes, np.uint64).reshape(-1, 4)
        self.leaks = label_conflicts(self.manifest, self.hashes)
        self.remove({row.id: f"same image under two labels: {row.other}" for row in self.leaks.itertuples()})
        notes = {"few_levels": {"images": few, "of": len(rows)} if few > FEW_FRACTION * len(rows) else {}}
        for name in ("left_out", "other", "difference"):
            notes[name] = {key: count for scan in scans for key, count in getattr(scan, name).items()}
        self.notes = {name: note for name, note in notes.items() if note}

    @property
    def rejects(self) -> pd.DataFrame:
        return pd.DataFrame(self._rejects, columns=["name", "reason", "detail"])

    def remove(self, reasons: Mapping[str, str]) -> None:
        """Reject images of the manifest by id."""
        for id, why in reasons.items():
            self._reject(id, why)
        kept = ~self.manifest["id"].isin(list(reasons)).to_numpy()
        self.manifest, self.hashes = self.manifest[kept].reset_index(drop=True), self.hashes[kept]

    def error(self, message: str) -> SourceError:
        """An error that gives the first reason for a rejection too."""
        for name, *why in self._rejects[:1]:
            message += f"; first reason: {name!r}: {': '.join(filter(None, why))}"
        return SourceError(f"{self.root}: {message}")

    def _reject(self, name: str, why: str) -> None:
        name = name.encode(errors="backslashreplace").decode()  # a name that is not UTF-8 must be writable
        if self.strict:
            raise SourceError(f"{self.root}: {name!r}: {why}; correct it or take it out, or set data.strict to false")
        reason, _, detail = why.partition(": ")
        self._rejects.append((name, reason, detail))


def ingest(source: str | Sequence[str], root: Path, test_fraction: float, seed: int, strict: bool = False) -> ImageSet:
    """List the usable images of `data.source` under `root`.

    Where the source has no test part, `test_fraction` of each class is drawn. An image stays with its copies and its
    group. The draw depends on the seed and the images' content, never on names or order. Of equal ids the first counts,
    unless their labels differ.

    Several sources are one pool. Where some have a test part, the others are for training alone. An image outside of
    the test part is rejected where another source tests a copy of it.

    In the manifest, `path` and `mask` ("": none) begin with `root` as given, `width` and `height` are in pixels, `part`
    is train or test, `label` may be "" in the test part, `group` is for example the patient ("": unknown), and
    `copy_of` the first image that this one is a near copy of ("": none).

    Raises:
        SourceError: the source cannot be read, no labelled training image or no test image is usable, or `strict` and
            any image is rejected or unused, or a public set's archive is not whole.
        ListError, OSError: see `wbc.sources.scan`.
    """
    scans = scan_all(source, root)
    images = ImageSet(scans, root, strict)
    if len(scans) > 1:
        images.remove(_tested_by_others(images))
    manifest, hashes = images.manifest, images.hashes
    manifest["copy_of"] = copy_of(manifest["id"], hashes)
    items = [item for scan in scans for item in scan.items]
    tested = any(item.part == "test" for item in items)
    if not tested and len(manifest):
        manifest["part"] = np.where(draw_test_part(manifest, test_fraction, seed), "test", "train")
    manifest["part"] = manifest["part"].replace("", "train")
    if not manifest["part"].eq("train").any():
        raise images.error(f"no usable labelled training image among {len(items)} images")
    if not manifest["part"].eq("test").any():
        if tested:
            raise images.error("no usable test image")
        raise SourceError(f"{root}: data.test_fraction = {test_fraction} holds back none of {len(manifest)} images")
    tables = [copies(manifest, hashes), divided_groups(manifest, hashes), images.leaks]
    images.leaks = pd.concat(tables, ignore_index=True)
    if len(scans) > 1 and (alone := _in_one_source(manifest)):
        images.notes["in_one_source"] = alone
    return images


def ingest_external(
    source: str, root: Path, study: pd.DataFrame, study_hashes: np.ndarray, strict: bool = False
) -> ImageSet:
    """List the labelled images of an external set, all of them as test images.

    Images of which the study has a copy, byte for byte or nearly, are rejected. `study` is the study's manifest of N
    images, and `study_hashes` are their (N, 4) uint64 perceptual hashes.

    Raises:
        SourceError, ListError, OSError: see `ingest`.
    """
    (scan,) = scan_all(source, root)
    items = [replace(item, part="") for item in scan.items if item.label or item.fault]
    left_out = Counter(scan.left_out) + Counter({"no label": len(scan.items) - len(items)})
    images = ImageSet([scan._replace(items=items, left_out=left_out)], root, strict)
    clusters = near_copies(np.concatenate([study_hashes, images.hashes]))
    first = study["id"].groupby(clusters[: len(study)]).first()
    known = pd.Series(clusters[len(study) :], images.manifest["id"]).map(first).dropna()
    images.remove({id: f"copy of an image of the study: {other}" for id, other in known.items()})
    if images.manifest.empty:
        raise images.error(f"no usable labelled image among {len(items)} images")
    images.manifest["part"] = "test"
    return images


def _check_complete(scan: Scan) -> None:
    """Raise a `SourceError` where a public set's archive is not whole or an image is not used."""
    if scan.difference:
        (label, count), more = next(iter(scan.difference.items())), len(scan.difference) - 1
        why = f"{label} {count:+} images" + f", and {more} labels more" * bool(more)
        raise SourceError(f"{scan.root}: not the whole archive: {why}; complete it, or set data.strict to false")
    if scan.unused:
        why = f"{scan.left_out[UNUSED]} images are {UNUSED}, the first {scan.unused!r}"
        raise SourceError(f"{scan.root}: {why}; list them or take them out, or set data.strict to false")


def _in_one_source(manifest: pd.DataFrame) -> dict[str, str]:
    """The classes that only one of several sources has, with its name."""
    labelled = manifest[manifest["label"] != ""]
    sources = labelled["id"].str.partition("/")[0].groupby(labelled["label"]).unique()
    return {label: sources[label][0] for label in CLASSES if label in sources and len(sources[label]) == 1}


def _tested_by_others(images: ImageSet) -> dict[str, str]:
    """The images outside of the test part that another source tests a copy of, with the reason to reject them."""
    tested, ids = images.manifest["part"] == "test", images.manifest["id"]
    table = pd.DataFrame({"id": ids, "source": ids.str.partition("/")[0], "cluster": near_copies(images.hashes)})
    pairs = table[~tested].merge(table[tested], on="cluster", suffixes=("", "_tested"))
    pairs = pairs[pairs["source"] != pairs["source_tested"]].drop_duplicates("id")
    return dict(zip(pairs["id"], "copy of another source's test image: " + pairs["id_tested"], strict=True))


def _faults(items: Sequence[Item]) -> list[str]:
    """Why each item cannot be used, as far as the source's lists tell; "" where it can."""
    labels, ids, files, faults = defaultdict(set), set(), {}, []
    for item in items:
        labels[item.id] |= {item.label} - {""}
    for item in items:
        if item.fault:
            fault = item.fault
        elif item.part in VALIDATION:
            fault = "validation part: it is drawn from the training images; make it train or test"
        elif item.part not in ("", "train", "test"):
            fault = f"unknown part: {item.part!r} is neither train nor test"
        elif not item.label and item.part != "test":
            fault = "no label"
        elif item.label and item.label not in CLASSES:
            close = difflib.get_close_matches(item.label.upper(), CLASSES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(CLASSES)}"
            fault = f"unknown label: {item.label!r}; {hint}"
        elif len(labels[item.id]) > 1:
            fault = f"id under two labels: {', '.join(sorted(labels[item.id]))}"
        elif item.id in ids:
            fault = "duplicate id"
        elif item.path in files:
            fault = f"same file as another id: {files[item.path]}"
        else:
            fault, files[item.path] = "", item.id
            ids.add(item.id)
        faults.append(fault)
    return faults


def _read(item: Item, fault: str, root: Path) -> tuple[tuple, np.ndarray, bool] | str:
    """An item's row of the manifest, its perceptual hash, and whether it has few grey levels; or why it is rejected."""
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
            return "not a file"  # reading a pipe would wait for ever
        content = item.path.read_bytes()
        image = decode(content)
    except OSError as error:
        return f"unreadable file: {error.strerror}"
    except ImageError as error:
        return str(error)
    height, width, _ = image.shape
    mask = item.path.parent.parent / "masks" / f"{item.path.stem}.png"
    mask = mask.as_posix() if item.path.parent.name == "images" and mask.exists() else ""
    file = item.path.as_posix(), sha256(content), width, height
    row = (item.id, *file, item.label, item.part, mask, item.group, "")
    return row, perceptual_hash(image), grey_levels(image) <= FEW_LEVELS
