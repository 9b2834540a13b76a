"""How far the choice of test images moves a score: 95% intervals, and differences of two rows with their p.

Images that agree in label and predictions are alike, so drawing images with replacement (the bootstrap: Efron and
Tibshirani 1993, chapter 13) is drawing how many there are of each kind: multinomials over confusion matrices' cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES

DRAWS = 10_000
LEVEL = 0.95
RARE = 5  # a class with fewer test images than this has an F1 of chance


@dataclass(frozen=True)
class Interval:
    """A score, of repeats the mean, and the percentiles of the draws that hold 95% of them between."""

    value: float
    low: float
    high: float
    sd: float | None  # over the repeats


@dataclass(frozen=True)
class Difference(Interval):
    """A difference of scores, and how probable one so large would be if the two rows were interchangeable."""

    p: float

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, or `undecided` where the interval holds 0 or p is 5% or more."""
        if self.low <= 0 <= self.high or self.p >= 1 - LEVEL:
            return "undecided"
        return "higher" if self.value > 0 else "lower"


def confusion_matrix(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(13, 13) counts, truth by prediction, of (N,) integer targets, all known, and predictions."""
    shape = (len(CLASSES), len(CLASSES))
    return np.bincount(np.ravel_multi_index((target, predicted), shape), minlength=np.prod(shape)).reshape(shape)


def scores(confusion: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of confusion matrices over one set of classes.

    Args:
        confusion: (..., 13, 13) counts, truth by prediction.
        images: (13,) how many images of each class the part has. A class with none does not count; any other counts
            the same in every matrix, with an F1 of 0 where nobody has or claims it.

    Returns:
        Each of shape (...): `f1`, macro F1; `accuracy`; and, where some classes are rare, `f1_common`, macro F1
        without these.
    """
    hits = confusion.diagonal(axis1=-2, axis2=-1)
    f1 = 2 * hits / np.maximum(confusion.sum(-1) + confusion.sum(-2), 1)  # report, eq. 1; 0/0 is 0
    found = {"f1": f1[..., images > 0].mean(-1), "accuracy": hits.sum(-1) / confusion.sum((-2, -1))}
    common = images >= RARE
    if 0 < common.sum() < (images > 0).sum():
        found["f1_common"] = f1[..., common].mean(-1)
    return found


def bounded(
    target: np.ndarray, predicted: np.ndarray, group: np.ndarray | None = None, way: str = ""
) -> dict[str, float]:
    """Every score of a test part, under the names that the metrics have.

    Args:
        target: (N,) integer targets, -1 where unknown.
        predicted: (N,) or (R, N) integer predictions, as for `intervals`.
        group: as for `intervals`.
        way: what follows a score's name, such as `_tta`.

    Returns:
        As `test_<score><way>`, with `_low` and `_high`, what `scores` gives, and with `_sd` where there are repeats.
        Nothing if all is unknown.
    """
    known = target >= 0
    if not known.any():
        return {}
    target, predicted, group = target[known], predicted[..., known], None if group is None else group[known]
    found = {}
    for name, it in intervals(target, predicted, group).items():
        found |= {f"test_{name}{way}": it.value, f"test_{name}{way}_low": it.low, f"test_{name}{way}_high": it.high}
        found |= {} if it.sd is None else {f"test_{name}{way}_sd": it.sd}
    return found


def patients(manifest: pd.DataFrame, ids: Sequence[str]) -> np.ndarray | None:
    """(N,) whose image each of the ids is, a patient of its own where nobody knows; None where no patient is known."""
    group = manifest.set_index("id")["group"].loc[ids]
    unknown = (group == "").to_numpy()
    return None if unknown.all() else np.where(unknown, "image " + group.index, "patient " + group)


def intervals(
    target: np.ndarray,
    predicted: np.ndarray,
    group: np.ndarray | None = None,
    stratified: bool = True,
    seed: int = 0,
) -> dict[str, Interval]:
    """Interval of every score that `scores` gives, of repeats that of the mean score.

    What is drawn are images: repeats that predict the same ones say no more about others than one does.

    Args:
        target: (N,) integer targets, all known.
        predicted: (N,) integer predictions, or (R, N) of R repeats.
        group: (N,) whose image each is. Patients are then drawn with all their images, as these resemble each other
            (cluster bootstrap: Field and Welsh 2007); not stratified, since a patient has cells of many classes.
        stratified: draw within each class, so that every draw has the part's class counts; else among all images.
        seed: of the draws.
    """
    images, units = _units(target, np.atleast_2d(predicted), group, stratified)
    value = scores(units.all(), images)
    drawn = scores(units.bootstrap(np.random.default_rng(seed)), images)
    return {name: Interval(float(it.mean()), *_bounds(drawn[name].mean(0)), _sd(it)) for name, it in value.items()}


def differences(
    target: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    group: np.ndarray | None = None,
    stratified: bool = True,
    seed: int = 0,
) -> dict[str, Difference]:
    """Score of `a` minus score of `b`, of every score that `scores` gives.

    Both are drawn on the same images. The p is two-sided, of a permutation test: the two predictions of an image, or
    of all a patient's images, change places at random (Good 2005, chapter 3).

    Args:
        target: (N,) integer targets, all known.
        a: (N,) integer predictions of one row, or (R, N) of R repeats.
        b: as many of the other, or (N,), for the same images.
        group: as for `intervals`.
        stratified: as for `intervals`.
        seed: of the draws.
    """
    a, b = np.broadcast_arrays(np.atleast_2d(a), np.atleast_2d(b))
    images, units = _units(target, np.concatenate([a, b]), group, stratified)
    rng = np.random.default_rng(seed)
    value, drawn, swapped = (
        {name: of[: len(a)] - of[len(a) :] for name, of in scores(confusion, images).items()}
        for confusion in (units.all(), units.bootstrap(rng), units.swap(rng))
    )
    return {
        name: Difference(float(it.mean()), *_bounds(drawn[name].mean(0)), _sd(it), _p(it.mean(), swapped[name].mean(0)))
        for name, it in value.items()
    }


def every_pair(
    target: np.ndarray, predicted: np.ndarray, group: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Macro F1 of R rows, and the interval of the difference of any two, all from the same draws.

    Args:
        target: (N,) integer targets, all known.
        predicted: (R, N) integer predictions of one training each.
        group: as for `intervals`.
        seed: of the draws.

    Returns:
        (R,) scores, and (R, R) low and high of a row's score minus a column's.
    """
    images, units = _units(target, predicted, group, stratified=True)
    drawn = scores(units.bootstrap(np.random.default_rng(seed)), images)["f1"]
    low, high = np.zeros((2, len(drawn), len(drawn)))
    for i, j in zip(*np.triu_indices(len(drawn), 1), strict=True):
        low[i, j], high[i, j] = _bounds(drawn[i] - drawn[j])
    return scores(units.all(), images)["f1"], low - high.T, high - low.T


@dataclass(frozen=True)
class _Units:
    """What is drawn, images or patients: U kinds of them."""

    counts: np.ndarray  # (U,) how many there are of a kind
    strata: np.ndarray  # (U,) within which it is drawn
    confusion: np.ndarray  # (rows, U, 13 · 13) what one adds to each row's confusion matrix

    def all(self) -> np.ndarray:
        """(rows, 13, 13) confusion matrices of all units."""
        return _square(self.counts @ self.confusion)

    def bootstrap(self, rng: np.random.Generator) -> np.ndarray:
        """(rows, DRAWS, 13, 13) confusion matrices of units drawn with replacement, the same ones for every row."""
        total = np.zeros((len(self.confusion), DRAWS, self.confusion.shape[-1]))
        for stratum in np.unique(self.strata):
            inside = self.strata == stratum
            counts = self.counts[inside]
            drawn = rng.multinomial(counts.sum(), counts / counts.sum(), DRAWS)
            total += drawn.astype(float) @ self.confusion[:, inside]
        return _square(total)

    def swap(self, rng: np.random.Generator) -> np.ndarray:
        """(2R, DRAWS, 13, 13) confusion matrices where each unit's first R rows and last R changed places or not."""
        swapped = rng.binomial(self.counts, 0.5, (DRAWS, len(self.counts)))
        other = np.roll(self.confusion, len(self.confusion) // 2, axis=0)
        return _square((self.counts - swapped) @ self.confusion + swapped @ other)


def _units(
    target: np.ndarray, predictions: np.ndarray, group: np.ndarray | None, stratified: bool
) -> tuple[np.ndarray, _Units]:
    """The class counts, and the units of (N,) targets and (rows, N) predictions."""
    images = np.bincount(target, minlength=len(CLASSES))
    kinds, kind, counts = np.unique([target, *predictions], axis=1, return_inverse=True, return_counts=True)
    confusion = np.eye(len(CLASSES) ** 2)[np.ravel_multi_index((kinds[0], kinds[1:]), (len(CLASSES), len(CLASSES)))]
    if group is None:
        return images, _Units(counts, kinds[0] * stratified, confusion)
    owners, owner = np.unique(group, return_inverse=True)
    held = np.zeros((len(owners), len(counts)))
    np.add.at(held, (owner, kind), 1)
    held, counts = np.unique(held, axis=0, return_counts=True)
    return images, _Units(counts, np.zeros_like(counts), held @ confusion)


def _square(confusion: np.ndarray) -> np.ndarray:
    return confusion.reshape(*confusion.shape[:-1], len(CLASSES), len(CLASSES))


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _bounds(drawn: np.ndarray) -> list[float]:
    return np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()


def _p(value: float, swapped: np.ndarray) -> float:
    extreme = int(np.count_nonzero(np.abs(swapped) >= abs(value) - 1e-12))  # equal ones differ by rounding
    return (extreme + 1) / (DRAWS + 1)
