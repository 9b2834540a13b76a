"""Finds copies of an image: in training and test, or under two labels, they let a score cheat."""

from collections.abc import Iterator
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ["kind", "id", "other", "distance"]
LEAKING = ("identical", "near_identical", "two_labels", "group")
KINDS = (*LEAKING, "within_training")  # which leaks nothing: folds and validation keep copies together
SIDE = 16  # a perceptual hash has SIDE² bits
MARGIN = 1  # grey levels: without it the bits of the plain background are noise
# Bits in which copies may differ. Copies of 150 real cells (PBC, Acevedo et al. 2020) differ in at most 13 after JPEG
# at quality 50, brightening, scaling to 224 pixels or to a half, and in at most 17 after losing 2 pixels on every side;
# of the 23 million pairs among 6,834 of these cells five are equal files, and the others differ in at least 44 bits.
THRESHOLD = 16
GROUPS = 3  # of bands: fewer make more keys of more bits; three make 57 of some 26 bits, enough for millions of images
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)  # any odd


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """A difference hash: which pixel is darker than its right neighbour in the image shrunk to 17×16.

    It survives scaling, compression and a change of brightness, not rotation or mirroring.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (4,) uint64: 256 bits.
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(np.diff(small.astype(np.int16)) > MARGIN).view(np.uint64)


def near_copies(hashes: np.ndarray) -> np.ndarray:
    """Which perceptual hashes are copies, in at most `THRESHOLD` bits different from one another or by way of others.

    Exact, without comparing all pairs: of `THRESHOLD + GROUPS + 1` bands of the bits, two such hashes agree in at least
    `GROUPS + 1`, since each bit in which they differ spoils one band. So two of these bands are in the same of `GROUPS`
    groups, and only those hashes are compared that agree in two bands of one group: sorted by these, neighbours.

    Args:
        hashes: (N, 4) uint64.

    Returns:
        (N,) int64, equal where they are copies.
    """
    cluster, found, count = np.arange(len(hashes)), [], 0
    for mask in _masks():
        order, end = _runs(hashes, mask)
        here, step = np.arange(len(order)), 1
        while len(here := here[here + step < end[here]]):
            one, other = order[here], order[here + step]
            new = cluster[one] != cluster[other]
            one, other = one[new], other[new]
            near = np.bitwise_count(hashes[one] ^ hashes[other]).sum(1, dtype=np.int64) <= THRESHOLD
            if near.any():
                found.append((one[near], other[near]))
                count += near.sum()
            if count > len(hashes):  # n copies of one image have n² / 2 pairs, but are joined by n
                cluster, found, count = _joined(cluster, found), [], 0
            step += 1
    return _joined(cluster, found)


def _masks() -> Iterator[np.ndarray]:
    """The (4,) uint64 bits of each pair of bands."""
    bands = THRESHOLD + GROUPS + 1
    # every 20th bit, not 13 that are neighbours: those of the background agree in most images
    of_bit = np.arange(SIDE**2) % bands
    for group in range(GROUPS):
        for pair in combinations(range(group, bands, GROUPS), 2):
            yield np.packbits(np.isin(of_bit, pair)).view(np.uint64)


def _runs(hashes: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of hashes that agree with others in the bits of `mask`, these side by side, and where a run ends."""
    low = np.uint64(len(hashes).bit_length())  # bits of a place, which the key makes room for
    keys = sum((hashes[:, word] & mask[word]) * MIX[word] for word in range(4)) >> low << low
    keys |= np.arange(len(hashes), dtype=np.uint64)
    keys.sort()
    first = np.ones(len(keys), bool)  # of its run
    first[1:] = np.diff(keys >> low) != 0
    alone = first.copy()
    alone[:-1] &= first[1:]
    order, first = (keys[~alone] & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64), first[~alone]
    ends = np.append(np.flatnonzero(first)[1:], len(order))
    return order, ends[np.cumsum(first) - 1]


def _joined(cluster: np.ndarray, found: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The clusters after those of each pair of places became one."""
    one, other = (np.concatenate([cluster[:0], *(cluster[pairs[i]] for pairs in found)]) for i in (0, 1))
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(cluster), len(cluster)))
    return connected_components(links, directed=False)[1].astype(np.int64)[cluster]


def _clusters(hashes: np.ndarray) -> np.ndarray:
    """As `near_copies`, of hashes many of which may be equal."""
    unique, place = np.unique(hashes, axis=0, return_inverse=True)
    return near_copies(unique)[place]


def copy_of(ids: pd.Series, hashes: np.ndarray) -> pd.Series:
    """The id of the first image that each copies, by perceptual hash and also by way of others; "" where it is none.

    Args:
        ids: of N images.
        hashes: theirs, (N, 4) uint64.
    """
    first = ids.groupby(_clusters(hashes)).transform("first")
    return first.where(first != ids, "")


def copies(manifest: pd.DataFrame, hashes: np.ndarray) -> pd.DataFrame:
    """Images that training has already, listed beside its copy.

    Args:
        manifest: N images, with `id`, `sha256`, `part` and `copy_of`.
        hashes: theirs, (N, 4) uint64.

    Returns:
        One row per such image, columns `COLUMNS`: of a test image `identical` (equal bytes) or `near_identical`, its
        id, the id of the closest training image, and the bits in which their hashes differ; of a training image
        `within_training` and the first that it repeats.
    """
    ids, contents = manifest["id"].to_numpy(), manifest["sha256"].to_numpy()
    train = (manifest["part"] == "train").to_numpy()
    cluster = first_copy(manifest).to_numpy()
    several = pd.Series(np.flatnonzero(pd.Series(cluster).duplicated(keep=False)))
    rows = {}
    for _, places in several.groupby(cluster[several]):
        places = places.to_numpy()
        known = places[train[places]]
        for place in places if len(known) else ():
            others = known[:1] if train[place] else known
            distances = np.bitwise_count(hashes[others] ^ hashes[place]).sum(1, dtype=np.int64)
            same = contents[others] == contents[place]
            best = np.lexsort((distances, ~same))[0]
            if others[best] != place:
                kind = "within_training" if train[place] else "identical" if same[best] else "near_identical"
                rows[place] = (kind, ids[place], ids[others[best]], int(distances[best]))
    return pd.DataFrame([rows[place] for place in sorted(rows)], columns=COLUMNS)


def divided_groups(manifest: pd.DataFrame, hashes: np.ndarray) -> pd.DataFrame:
    """Test images whose group, such as a patient, is in training too.

    Args:
        manifest: N images, numbered from 0, with `id`, `part` and `group` ("" where unknown).
        hashes: theirs, (N, 4) uint64.

    Returns:
        One row per such image, columns `COLUMNS`, beside the group's first training image.
    """
    grouped = manifest[manifest["group"] != ""].reset_index(names="place")
    first = grouped[grouped["part"] == "train"].drop_duplicates("group").set_index("group")
    divided = grouped[(grouped["part"] == "test") & grouped["group"].isin(first.index)]
    other = first.loc[divided["group"]]
    distances = np.bitwise_count(hashes[divided["place"]] ^ hashes[other["place"]]).sum(1, dtype=np.int64)
    found = {"kind": "group", "id": divided["id"], "other": other["id"].to_numpy(), "distance": distances}
    return pd.DataFrame(found, columns=COLUMNS)


def first_copy(manifest: pd.DataFrame) -> pd.Series:
    """The id of the first of the images that each is one of: its own where it is no copy."""
    return manifest["copy_of"].where(manifest["copy_of"] != "", manifest["id"])


def two_labels(manifest: pd.DataFrame, hashes: np.ndarray) -> pd.DataFrame:
    """Images of which a copy, byte for byte or nearly, is under another label too.

    Args:
        manifest: N images, with `id`, `sha256` and `label` ("" where unlabelled, which contradicts nothing).
        hashes: theirs, (N, 4) uint64.

    Returns:
        One row per such image, columns `COLUMNS`, beside the closest image that contradicts it. Blank images, whose
        hashes have at most `THRESHOLD` bits, contradict each other only where their bytes are equal.
    """
    ids, contents, labels = (manifest[name].to_numpy() for name in ("id", "sha256", "label"))
    labelled = pd.Series(np.flatnonzero(labels != ""))
    blank = np.bitwise_count(hashes).sum(1) <= THRESHOLD
    rows = {}
    for _, places in labelled.groupby(_clusters(hashes)[labelled]):
        places = places.to_numpy()
        for place in places if len(set(labels[places])) > 1 else ():
            others = places[labels[places] != labels[place]]
            distances = np.bitwise_count(hashes[others] ^ hashes[place]).sum(1, dtype=np.int64)
            same = contents[others] == contents[place]
            near = (distances <= THRESHOLD) & ~blank[others] & ~blank[place]
            best = np.lexsort((distances, ~near, ~same))[0]
            if same[best] or near[best]:
                rows[place] = ("two_labels", ids[place], ids[others[best]], int(distances[best]))
    return pd.DataFrame([rows[place] for place in sorted(rows)], columns=COLUMNS)
