"""Finds copies of an image: in training and test, or under two labels, they let a score cheat."""

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ["kind", "id", "other", "distance"]
LEAKING = ("identical", "near_identical", "two_labels")
KINDS = (*LEAKING, "within_training")  # which leaks nothing: folds and validation keep copies together
SIDE = 16  # a perceptual hash has SIDE² bits
MARGIN = 1  # grey levels: without it the bits of the plain background are noise
# Bits in which copies may differ. Copies of 150 real cells (PBC, Acevedo et al. 2020) differ in at most 13 after JPEG
# at quality 50, brightening, scaling to 224 pixels or to a half, and in at most 17 after losing 2 pixels on every side;
# among 506 of these cells no two differ in fewer than 57.
THRESHOLD = 16


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


def near_pairs(hashes: np.ndarray) -> np.ndarray:
    """All pairs of perceptual hashes that differ in at most `THRESHOLD` bits.

    Two such agree in all of one of `THRESHOLD + 1` bands of the bits, or else they would differ in one of each. So only
    those are compared that agree in a band: sorted by its bits they are neighbours.

    Args:
        hashes: (N, 4) uint64, no two equal.

    Returns:
        (K, 2) int64 places, the smaller first and each pair once.
    """
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    found = [np.empty((0, 2), np.int64)]
    for band in range(THRESHOLD + 1):
        # every 17th bit, not 15 that are neighbours: those of the background agree in most images
        keys = np.packbits(bits[:, band :: THRESHOLD + 1], axis=1, bitorder="little").view(np.uint16).ravel()
        order = np.argsort(keys, kind="stable")
        keys, sorted_prints = keys[order], hashes[order]
        end = np.searchsorted(keys, keys, side="right")  # of the run of equal keys
        here, step = np.arange(len(keys)), 1
        while len(here := here[here + step < end[here]]):
            distances = np.bitwise_count(sorted_prints[here] ^ sorted_prints[here + step]).sum(1, dtype=np.int64)
            near = here[distances <= THRESHOLD]
            found.append(np.sort(np.stack([order[near], order[near + step]], 1), axis=1))
            step += 1
    return np.unique(np.concatenate(found), axis=0)


def copy_of(ids: pd.Series, hashes: np.ndarray) -> pd.Series:
    """The id of the first image that each copies, by perceptual hash and also by way of others; "" where it is none.

    Args:
        ids: of N images.
        hashes: theirs, (N, 4) uint64.
    """
    unique, place = np.unique(hashes, axis=0, return_inverse=True)
    pairs = near_pairs(unique)
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(unique), len(unique)))
    cluster = connected_components(links, directed=False)[1][place]
    first = ids.groupby(cluster).transform("first")
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
            distances = np.bitwise_count(hashes[known] ^ hashes[place]).sum(1, dtype=np.int64)
            same = contents[known] == contents[place]
            best = 0 if train[place] else np.lexsort((distances, ~same))[0]
            if known[best] != place:
                kind = "within_training" if train[place] else "identical" if same[best] else "near_identical"
                rows[place] = (kind, ids[place], ids[known[best]], int(distances[best]))
    return pd.DataFrame([rows[place] for place in sorted(rows)], columns=COLUMNS)


def first_copy(manifest: pd.DataFrame) -> pd.Series:
    """The id of the first of the images that each is one of: its own where it is no copy."""
    return manifest["copy_of"].where(manifest["copy_of"] != "", manifest["id"])


def two_labels(manifest: pd.DataFrame) -> pd.DataFrame:
    """Images whose bytes occur under another label too.

    Args:
        manifest: with `id`, `sha256` and `label` ("" where unlabelled, which contradicts nothing).

    Returns:
        One row per such image, columns `COLUMNS`, beside the first image that contradicts it.
    """
    labelled = manifest[manifest["label"] != ""]
    doubtful = labelled[labelled.groupby("sha256")["label"].transform("nunique") > 1]
    rows = []
    for row in doubtful.itertuples():
        others = doubtful[(doubtful["sha256"] == row.sha256) & (doubtful["label"] != row.label)]
        rows.append(("two_labels", row.id, others["id"].iloc[0], 0))
    return pd.DataFrame(rows, columns=COLUMNS)
