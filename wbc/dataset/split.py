"""Stratified splits that depend on the images' content and the seed, never on names or order.

What is drawn are units: an image with all its copies and all images of its group, such as a patient. A unit stays
together even where the classes cannot be spread as evenly then.
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wbc.core.classes import TABLE_1
from wbc.core.errors import UserError
from wbc.dataset.leaks import originals


class Units(NamedTuple):
    """N images in U units."""

    unit: np.ndarray  # (N,) int64: the unit of each image
    counts: pd.DataFrame  # (U, classes): images of each class in each unit
    stratum: pd.Series  # (U,): the class of which each unit has the largest fraction
    position: pd.Series  # (U,): the unit's position in a shuffle of its stratum, in (0, 1)


def shuffle_units(manifest: pd.DataFrame, seed: int, purpose: str) -> Units:
    """Shuffle the units of a manifest by a keyed hash of their content.

    Units of a stratum with n images of its class have the position (m + k/2) / n, where k is the number of those images
    in the unit and m that in the units before it: the i-th of n single images has (i + 1/2) / n.
    """
    copies, groups = pd.factorize(originals(manifest))[0], pd.factorize(manifest["group"].replace("", None))[0]
    known, size = groups >= 0, len(manifest) + groups.max(initial=-1) + 1
    links = coo_array((np.ones(known.sum()), (copies[known], len(manifest) + groups[known])), shape=(size, size))
    unit = pd.factorize(connected_components(links, directed=False)[1][copies])[0]
    counts = pd.crosstab(unit, manifest["label"].to_numpy())
    stratum = (counts / counts.sum()).idxmax(axis=1)
    content = manifest["sha256"].groupby(unit).min()
    keys = content.map(lambda key: hashlib.sha256(f"{seed}:{purpose}:{key}".encode()).hexdigest())
    weights = pd.Series(counts.to_numpy()[np.arange(len(counts)), counts.columns.get_indexer(stratum)])[keys.argsort()]
    by_stratum = weights.groupby(stratum)
    position = (by_stratum.cumsum() - weights / 2) / by_stratum.transform("sum")
    return Units(unit, counts, stratum, position.sort_index())


def assign_parts(units: Units, targets: np.ndarray) -> np.ndarray:
    """Assign U units to parts so that the numbers of images come close to `targets`, (parts, classes).

    Greedy: the larger units come first, and the single images last, which then fill up what is missing. Each unit goes
    where it adds least to the sum of (images − target)² / target over classes and parts, among equals to the smallest.

    Returns:
        (U,) int64: the part of each unit.
    """
    order = pd.DataFrame({"size": -units.counts.sum(axis=1), "stratum": units.stratum, "position": units.position})
    counts, targets = units.counts.to_numpy().tolist(), targets.tolist()
    images = np.zeros_like(targets, int).tolist()
    assigned = np.empty(len(counts), np.int64)
    for unit in order.sort_values(list(order)).index:
        present = [(c, n) for c, n in enumerate(counts[unit]) if n]
        costs = [  # fsum: the same on every machine
            (math.fsum(n * (n + 2 * had[c]) / (target[c] or 1e-9) for c, n in present), sum(had))
            for had, target in zip(images, targets, strict=True)
        ]
        part = assigned[unit] = costs.index(min(costs))
        for c, n in present:
            images[part][c] += n
    return assigned


def draw_test_part(manifest: pd.DataFrame, fraction: float, seed: int) -> pd.Series:
    """Draw a `fraction` of every class as the test part.

    The training part's size is `1 - fraction` of all, rounded, and divided among the classes by largest remainder, ties
    to the smaller class. So the challenge's 38,535 images divide into the study's 28,901 and 9,634, class by class as
    in the report's Table 1; rounding each class by itself does not. Every class keeps an image in training.

    Returns:
        (N,) bool: whether each image is a test image.
    """
    sizes = manifest.groupby("label").size().sort_values(kind="stable")
    training = len(manifest) - round(fraction * len(manifest))
    seats, remainders = np.divmod(sizes * training, len(manifest))  # integers: no tie is broken by a last bit
    more = remainders.sort_values(ascending=False, kind="stable").index[: training - seats.sum()]
    seats[more] += 1
    seats = seats.clip(lower=1)
    units = shuffle_units(manifest, seed, "test")
    targets = np.stack([seats, sizes - seats])[:, sizes.index.get_indexer(units.counts.columns)]
    test = assign_parts(units, targets) == 1
    for label in units.counts.columns[~units.counts[~test].any()]:  # all its units were assigned to the test part
        test[units.counts[label].ne(0).idxmax()] = False
    return pd.Series(test[units.unit], index=manifest.index)


def outer_split(manifest: pd.DataFrame, outer: int, repeat: int, seed: int) -> pd.DataFrame:
    """The manifest with the parts of one repeat.

    With `outer` = 0 the parts stay as they are. Otherwise the labelled images of both parts are divided into `outer`
    folds. The first `outer` repeats test one fold each, the next ones draw new folds. Unlabelled images stay in the
    test part.
    """
    if not outer:
        return manifest
    pool = manifest[manifest["label"] != ""]
    test = _assign_evenly(pool, outer, seed + repeat // outer, "outer") == repeat % outer
    parts = test.map({True: "test", False: "train"})
    return manifest.assign(part=parts.reindex(manifest.index, fill_value="test"))


def tail_split(manifest: pd.DataFrame, tail: float, seed: int) -> pd.DataFrame:
    """The manifest with the training classes as imbalanced as the report's.

    With `tail` = 0 the parts stay as they are. Otherwise the training part has `tail` times the images that the
    report's Table 1 lists for each class, rounded, and at least one. All other images are tested.

    Raises:
        UserError: a class has too few images to leave one for the test part.
    """
    if not tail:
        return manifest
    pool = manifest[manifest["label"] != ""]
    sizes = pool.groupby("label").size()
    training = (pd.Series(TABLE_1)[sizes.index] * tail).round().astype(int).clip(lower=1)
    if (short := sizes[sizes <= training]).any():
        label, largest = short.index[0], ((sizes - 1) / pd.Series(TABLE_1)[sizes.index]).min()
        raise UserError(
            f"split.tail = {tail:g}: {label} has {short[label]} images and would train {training[label]}; at most "
            f"{math.floor(1000 * largest) / 1000:g} leaves every class one to test"
        )
    units = shuffle_units(pool, seed, "tail")
    targets = np.stack([training, sizes - training])[:, sizes.index.get_indexer(units.counts.columns)]
    parts = pd.Series(np.array(["train", "test"])[assign_parts(units, targets)[units.unit]], index=pool.index)
    return manifest.assign(part=parts.reindex(manifest.index, fill_value="test"))


def folds(manifest: pd.DataFrame, number: int, seed: int) -> pd.Series:
    """Each training image's cross-validation fold, 0 … number - 1, every class spread evenly; -1 for test images."""
    assigned = _assign_evenly(manifest[manifest["part"] == "train"], number, seed, "fold")
    return assigned.reindex(manifest.index, fill_value=-1).rename("fold")


def validation_positions(manifest: pd.DataFrame, seed: int) -> pd.Series:
    """Each training image's position in a shuffle of its class, in (0, 1); NaN for test images.

    `positions < f` takes a fraction f of every class, rounded to whole units. A class in a single unit gives none to a
    fraction up to a half. A smaller fraction is contained in a larger one.
    """
    train = manifest[manifest["part"] == "train"]
    units = shuffle_units(train, seed, "validation")
    positions = pd.Series(units.position.to_numpy()[units.unit], index=train.index)
    return positions.reindex(manifest.index).rename("validation")


def _assign_evenly(manifest: pd.DataFrame, number: int, seed: int, purpose: str) -> pd.Series:
    """Each image's fold, 0 … number - 1, every class spread evenly."""
    units = shuffle_units(manifest, seed, purpose)
    even = np.tile(units.counts.sum() / number, (number, 1))
    return pd.Series(assign_parts(units, even)[units.unit], index=manifest.index)
