"""Stratified splits that depend on the images' content and the seed, never on names or order.

What is drawn are units: an image with all its copies and all images of its group, such as a patient. They stay together
even where the classes cannot be spread as evenly then.
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wbc.dataset.leaks import first_copy


class Units(NamedTuple):
    """N images in U units."""

    of: np.ndarray  # (N,) int64: the unit of each image
    counts: pd.DataFrame  # (U, classes): how many images of each class a unit has
    home: pd.Series  # (U,): the class of which it has the largest share, by which it is stratified
    place: pd.Series  # (U,): where it stands in a shuffle of its home class, in (0, 1)


def shuffled(manifest: pd.DataFrame, seed: int, purpose: str) -> Units:
    """The units of a manifest, shuffled by a keyed hash of their content.

    Where a class has n images in units at home in it, and the units before it in the shuffle m of them, a unit with k
    stands at (m + k/2) / n: the i-th of n single images at (i + 1/2) / n.
    """
    copies, groups = pd.factorize(first_copy(manifest))[0], pd.factorize(manifest["group"].replace("", None))[0]
    known, size = groups >= 0, len(manifest) + groups.max(initial=-1) + 1
    links = coo_array((np.ones(known.sum()), (copies[known], len(manifest) + groups[known])), shape=(size, size))
    of = pd.factorize(connected_components(links, directed=False)[1][copies])[0]
    counts = pd.crosstab(of, manifest["label"].to_numpy())
    home = (counts / counts.sum()).idxmax(axis=1)
    content = manifest["sha256"].groupby(of).min()
    keys = content.map(lambda key: hashlib.sha256(f"{seed}:{purpose}:{key}".encode()).hexdigest())
    weights = pd.Series(counts.to_numpy()[np.arange(len(counts)), counts.columns.get_indexer(home)])[keys.argsort()]
    by_class = weights.groupby(home)
    place = (by_class.cumsum() - weights / 2) / by_class.transform("sum")
    return Units(of, counts, home, place.sort_index())


def deal(units: Units, targets: np.ndarray) -> np.ndarray:
    """Deal units to parts so that each part gets as many images of every class as it should, as far as units allow.

    The larger units come first and the single images last, which then fill up what is missing. Each goes where it adds
    least to the sum of (images − target)² / target over classes and parts, and among equals to the smallest part.

    Args:
        units: U of them.
        targets: (parts, classes) numbers of images, the classes as in `units.counts`.

    Returns:
        (U,) int64: the part of each.
    """
    size = units.counts.sum(axis=1)
    turns = pd.DataFrame({"size": -size, "home": units.home, "place": units.place})
    counts, parts = units.counts.to_numpy().tolist(), range(len(targets))
    wanted, have, total = targets.tolist(), np.zeros_like(targets, int).tolist(), [0 for _ in parts]
    dealt = np.empty(len(counts), np.int64)
    for unit in turns.sort_values(list(turns)).index:
        held = [(c, n) for c, n in enumerate(counts[unit]) if n]

        def added(part: int, held=held) -> float:  # fsum: the same on every machine
            return math.fsum(n * (n + 2 * have[part][c]) / (wanted[part][c] or 1e-9) for c, n in held)

        part = dealt[unit] = min(parts, key=lambda part: (added(part), total[part]))
        total[part] += sum(n for _, n in held)
        for c, n in held:
            have[part][c] += n
    return dealt


def held_back(manifest: pd.DataFrame, fraction: float, seed: int) -> pd.Series:
    """Whether each image of a pool belongs to its test part, a share `fraction` of every class.

    The training part's size is `1 - fraction` of all, rounded, and its seats go to the classes by largest remainder,
    ties to the smaller class: so the challenge's 38,535 images divide into the study's 28,901 and 9,634, class by
    class as in Table 1, where rounding each class by itself does not. Every class keeps an image in training.
    """
    sizes = manifest.groupby("label").size().sort_values(kind="stable")
    training = len(manifest) - round(fraction * len(manifest))
    seats, remainders = np.divmod(sizes * training, len(manifest))  # integers: no tie is broken by a last bit
    more = remainders.sort_values(ascending=False, kind="stable").index[: training - seats.sum()]
    seats[more] += 1
    seats = seats.clip(lower=1)
    units = shuffled(manifest, seed, "test")
    held = deal(units, np.stack([seats, sizes - seats])[:, sizes.index.get_indexer(units.counts.columns)]) == 1
    for label in units.counts.columns[~units.counts[~held].any()]:  # all its units were dealt to the test part
        held[units.counts[label].ne(0).idxmax()] = False
    return pd.Series(held[units.of], index=manifest.index)


def repeated(manifest: pd.DataFrame, outer: int, repeat: int, seed: int) -> pd.DataFrame:
    """The manifest with the parts that one repeat has.

    Args:
        manifest: of all images.
        outer: 0 leaves the parts as they are. Else the labelled images of both are dealt to so many folds, and the
            repeats take turns: k of them test every image once, the next k deal anew. Unlabelled images stay in the
            test part.
        repeat: 0, 1, …
        seed: the study's.
    """
    if not outer:
        return manifest
    pool = manifest[manifest["label"] != ""].reset_index()
    units = shuffled(pool, seed + repeat // outer, "outer")
    even = np.tile(units.counts.sum() / outer, (outer, 1))
    tested = deal(units, even)[units.of] == repeat % outer
    parts = pd.Series(np.where(tested, "test", "train"), index=pool["index"])
    return manifest.assign(part=parts.reindex(manifest.index, fill_value="test"))


def validation(manifest: pd.DataFrame, seed: int) -> pd.Series:
    """Each training image's place in a shuffle of its class, in (0, 1); NaN of a test image.

    So `validation < f` takes a share f of every class, rounded to whole units: a class in a single one keeps it out of
    any share up to a half, and a smaller share is contained in a larger one.
    """
    train = manifest[manifest["part"] == "train"].reset_index()
    units = shuffled(train, seed, "validation")
    places = pd.Series(units.place.to_numpy()[units.of], index=train["index"])
    return places.reindex(manifest.index).rename("validation")


def folds(manifest: pd.DataFrame, number: int, seed: int) -> pd.Series:
    """Each training image's cross-validation fold, 0 … number - 1, every class spread evenly; -1 of a test image."""
    train = manifest[manifest["part"] == "train"].reset_index()
    units = shuffled(train, seed, "fold")
    even = np.tile(units.counts.sum() / number, (number, 1))
    dealt = pd.Series(deal(units, even)[units.of], index=train["index"])
    return dealt.reindex(manifest.index, fill_value=-1).rename("fold")
