"""Find copies of an image in training and test, or under two labels: both falsify scores.

`copies`, `label_conflicts` and `divided_groups` take a manifest of N images, numbered from 0, and their (N, 4) uint64
perceptual hashes. They return the images that they find, one per row in the manifest's order, with the columns
`COLUMNS`: the kind, the id, the id of the other image, and the number of bits in which the two hashes differ.
"""

from collections.abc import Iterator
from itertools import combinations, count

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ["kind", "id", "other", "distance"]
LEAKING = ("identical", "near_identical", "two_labels", "group")
KINDS = (*LEAKING, "within_training")  # the last is no leak: folds and validation keep copies together
SIDE = 16  # a perceptual hash has SIDE² bits
MARGIN = 1  # grey levels: without it the bits of the plain background are noise
# Bits in which copies may differ. Copies of 150 real cells (PBC, Acevedo et al. 2020) differ in at most 13 after JPEG
# at quality 50, brightening, scaling to 224 pixels or to a half, and in at most 17 after losing 2 pixels on every side.
# Of the 23 million pairs among 6,834 of these cells five are equal files, and the others differ in at least 44 bits.
THRESHOLD = 16
GROUPS = 3  # fewer groups give more keys of more bits; three give 57 keys of 26 bits, enough for millions of images
# Odd multipliers that hash the four words of a masked hash to one key
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """The difference hash of an (H, W, 3) uint8 RGB image: 256 bits as (4,) uint64.

    A bit says whether a pixel is darker than its right neighbour in the image shrunk to 17×16. It survives scaling,
    compression and a change of brightness, not rotation or mirroring.
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(np.diff(small.astype(np.int16)) > MARGIN).view(np.uint64)


def near_copies(hashes: np.ndarray) -> np.ndarray:
    """Cluster (N, 4) uint64 perceptual hashes, where those that differ in at most `THRESHOLD` bits are linked.

    Exact without comparing all pairs. The bits are divided into `THRESHOLD + GROUPS + 1` bands. Each differing bit
    spoils one band, so two linked hashes agree in at least `GROUPS + 1` bands, two of which are in the same of `GROUPS`
    groups. Only hashes that agree in two bands of one group are compared; sorting by these bands makes them neighbours.

    Returns:
        (N,) cluster numbers.
    """
    unique, inverse = np.unique(hashes, axis=0, return_inverse=True)
    number, cluster = len(unique), np.arange(len(unique))
    for mask in _band_pairs():
        keys = ((unique & mask) * MIX).sum(1, dtype=np.uint64)
        order = np.argsort(keys)
        keys, here = keys[order], np.arange(number)
        for step in count(1):
            here = here[: np.searchsorted(here, number - step)]
            here = here[keys[here] == keys[here + step]]
            if not len(here):
                break
            one, other = order[here], order[here + step]
            new = cluster[one] != cluster[other]
            one, other = one[new], other[new]
            near = np.bitwise_count(unique[one] ^ unique[other]).sum(1) <= THRESHOLD
            if near.any():  # joining at every step keeps n copies of one image from becoming n² / 2 stored pairs
                pairs = cluster[one[near]], cluster[other[near]]
                links = coo_array((np.ones(near.sum(), bool), pairs), shape=(number, number))
                cluster = connected_components(links, directed=False)[1][cluster]
    return cluster[inverse]


def _band_pairs() -> Iterator[np.ndarray]:
    """The bits of each pair of bands of one group, (4,) uint64."""
    bands = THRESHOLD + GROUPS + 1
    # A band has every 20th bit, not 13 neighbours: those of the background agree in most images.
    band = np.arange(SIDE**2) % bands
    for group in range(GROUPS):
        for pair in combinations(range(group, bands, GROUPS), 2):
            yield np.packbits(np.isin(band, pair)).view(np.uint64)


def copy_of(ids: pd.Series, hashes: np.ndarray) -> pd.Series:
    """The id of the first image that each of N images is a near copy of, "" where it is none."""
    first = ids.groupby(near_copies(hashes)).transform("first")
    return first.where(first != ids, "")


def originals(manifest: pd.DataFrame) -> pd.Series:
    """The id of the first image that each is a near copy of, its own where it is none."""
    return manifest["copy_of"].where(manifest["copy_of"] != "", manifest["id"])


def copies(manifest: pd.DataFrame, hashes: np.ndarray) -> pd.DataFrame:
    """Images of which the training part has a copy.

    A test image is `identical` (equal bytes) or `near_identical` to the closest training image. A training image is a
    copy `within_training` of the first one.
    """
    train, contents, found = (manifest["part"] == "train").to_numpy(), manifest["sha256"].to_numpy(), []
    for places in _clusters(originals(manifest)):
        trained = places[train[places]]
        for place in places if len(trained) else ():
            other, distance = _closest(place, trained[:1] if train[place] else trained, contents, hashes)
            identical = contents[place] == contents[other]
            kind = "within_training" if train[place] else "identical" if identical else "near_identical"
            if other != place:
                found.append((place, kind, other, distance))
    return _table(found, manifest)


def label_conflicts(manifest: pd.DataFrame, hashes: np.ndarray) -> pd.DataFrame:
    """Images of which a copy, byte for byte or nearly, has another label, with the closest such copy.

    An image without a label conflicts with none. Blank images, whose hashes have at most `THRESHOLD` bits set, conflict
    only where their bytes are equal.
    """
    contents, labels, found = manifest["sha256"].to_numpy(), manifest["label"].to_numpy(), []
    blank = np.bitwise_count(hashes).sum(1) <= THRESHOLD
    for places in _clusters(pd.Series(near_copies(hashes))[labels != ""]):
        for place in places if len(set(labels[places])) > 1 else ():
            others = places[labels[places] != labels[place]]
            others = others[(contents[others] == contents[place]) | ~(blank[others] | blank[place])]
            if len(others) and (closest := _closest(place, others, contents, hashes))[1] <= THRESHOLD:
                found.append((place, "two_labels", *closest))
    return _table(found, manifest)


def divided_groups(manifest: pd.DataFrame, hashes: np.ndarray) -> pd.DataFrame:
    """Test images whose group, such as a patient, is in training too, with the group's first training image."""
    train, contents, found = (manifest["part"] == "train").to_numpy(), manifest["sha256"].to_numpy(), []
    for places in _clusters(manifest["group"][manifest["group"] != ""]):
        first = places[train[places]][:1]
        for place in places[~train[places]] if len(first) else ():
            found.append((place, "group", *_closest(place, first, contents, hashes)))
    return _table(found, manifest)


def _clusters(keys: pd.Series) -> Iterator[np.ndarray]:
    """The places of the images that share a key, for each key of several images."""
    shared = keys[keys.duplicated(keep=False)]
    return (images.index.to_numpy() for _, images in shared.groupby(shared))


def _closest(place: int, others: np.ndarray, contents: np.ndarray, hashes: np.ndarray) -> tuple[int, int]:
    """The closest of other images and its distance; one with equal bytes comes first."""
    distances = np.bitwise_count(hashes[others] ^ hashes[place]).sum(1)
    best = np.lexsort((distances, contents[others] != contents[place]))[0]
    return others[best], int(distances[best])


def _table(found: list[tuple[int, str, int, int]], manifest: pd.DataFrame) -> pd.DataFrame:
    """The table of rows of an image's place, kind, the other image's place, and distance."""
    ids = manifest["id"].to_numpy()
    return pd.DataFrame([(kind, ids[i], ids[j], distance) for i, kind, j, distance in sorted(found)], columns=COLUMNS)
