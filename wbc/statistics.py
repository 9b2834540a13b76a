"""95% intervals of scores and of differences between models, over the choice of test images.

Images with the same label and predictions are interchangeable. A bootstrap draw (Efron and Tibshirani 1993, chapter 13)
is therefore a multinomial draw of how often each combination of label and predictions occurs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.scoring.scores import scores

DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A score, the mean over repeats, and its 95% percentile interval."""

    value: float
    low: float
    high: float
    sd: float | None  # over the repeats; None for a single one


@dataclass(frozen=True)
class Difference(Interval):
    """A difference of scores with the p-value of a permutation test."""

    p: float

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, or `undecided` where the interval holds 0 or p is at least 5%."""
        if self.low <= 0 <= self.high or self.p >= 1 - LEVEL:
            return "undecided"
        return "higher" if self.value > 0 else "lower"


def patients(manifest: pd.DataFrame, ids: Sequence[str]) -> np.ndarray | None:
    """(N,) patient of each image; an image of unknown patient is its own. None where no patient is known."""
    group = manifest.set_index("id")["group"].loc[ids]
    unknown = (group == "").to_numpy()
    return None if unknown.all() else np.where(unknown, "image " + group.index, "patient " + group)


def intervals(
    target: np.ndarray,
    predicted: np.ndarray,
    group: np.ndarray | None = None,
    frequencies: np.ndarray | None = None,
) -> dict[str, Interval]:
    """Bootstrap interval of every score in `wbc.scoring.scores.scores`; of repeats, of the mean score.

    Images are drawn within each class. Where patients are known, they are drawn with all their images instead (cluster
    bootstrap: Field and Welsh 2007).

    Args:
        target: (N,) integer targets, all known.
        predicted: (N,) integer predictions, or (R, N) of R repeats, which share each draw of images.
        group: (N,) patient of each image.
        frequencies: (13,) of the classes among the images that the scores are for, if they are not those of the
            given images: each image counts in proportion, which changes precision but not recall.
    """
    images, units = _units(target, np.atleast_2d(predicted), group, frequencies)
    value = scores(units.total(), images)
    drawn = scores(units.bootstrap(np.random.default_rng(0)), images)
    return {name: Interval(float(it.mean()), *_bounds(drawn[name].mean(0)), _sd(it)) for name, it in value.items()}


def scores_with_intervals(
    target: np.ndarray, predicted: np.ndarray, group: np.ndarray | None, suffix: str
) -> dict[str, float]:
    """`intervals` of the images with known target as `test_<score><suffix>`, `…_low`, `…_high` and `…_sd`.

    Targets are -1 where unknown. Empty where all are.
    """
    known, found = target >= 0, {}
    if not known.any():
        return {}
    for name, it in intervals(target[known], predicted[..., known], None if group is None else group[known]).items():
        values = {"": it.value, "_low": it.low, "_high": it.high} | ({} if it.sd is None else {"_sd": it.sd})
        found |= {f"test_{name}{suffix}{end}": value for end, value in values.items()}
    return found


def differences(
    target: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    group: np.ndarray | None = None,
    frequencies: np.ndarray | None = None,
) -> dict[str, Difference]:
    """Every score of `a` minus that of `b`, on the same draws of images; the arguments are as for `intervals`.

    p is two-sided, of a permutation test that swaps the two predictions of an image, or of all images of a patient, at
    random (Good 2005, chapter 3).
    """
    a, b = np.broadcast_arrays(np.atleast_2d(a), np.atleast_2d(b))
    images, units = _units(target, np.concatenate([a, b]), group, frequencies)
    rng = np.random.default_rng(0)
    value, drawn, swapped = (
        {name: each[: len(a)] - each[len(a) :] for name, each in scores(confusion, images).items()}
        for confusion in (units.total(), units.bootstrap(rng), units.swap(rng))
    )
    return {
        name: Difference(float(it.mean()), *_bounds(drawn[name].mean(0)), _sd(it), _p(it.mean(), swapped[name].mean(0)))
        for name, it in value.items()
    }


def pairwise_differences(
    target: np.ndarray, predicted: np.ndarray, group: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Macro F1 of M models from (M, N) predictions, and the interval of the difference of any two.

    Returns:
        (M,) scores, and (M, M) low and high of the score of a row minus that of a column.
    """
    images, units = _units(target, predicted, group, None)
    drawn = scores(units.bootstrap(np.random.default_rng(0)), images)["f1"]
    low, high = np.zeros((2, len(drawn), len(drawn)))
    for i, j in zip(*np.triu_indices(len(drawn), 1), strict=True):
        low[i, j], high[i, j] = _bounds(drawn[i] - drawn[j])
    return scores(units.total(), images)["f1"], low - high.T, high - low.T


@dataclass(frozen=True)
class _Units:
    """U kinds of units to draw: images, or patients with their images."""

    counts: np.ndarray  # (U,) number of units of a kind
    strata: np.ndarray  # (U,) stratum of a kind
    confusion: np.ndarray  # (models, U, 13 · 13) what a unit adds to the confusion matrix of each model

    def total(self) -> np.ndarray:
        """(models, 13, 13) confusion matrices of all units."""
        return _square(self.counts @ self.confusion)

    def bootstrap(self, rng: np.random.Generator) -> np.ndarray:
        """(models, DRAWS, 13, 13) confusion matrices of units drawn with replacement, the same for every model."""
        total = np.zeros((len(self.confusion), DRAWS, self.confusion.shape[-1]))
        for stratum in np.unique(self.strata):
            inside = self.strata == stratum
            counts = self.counts[inside]
            drawn = rng.multinomial(counts.sum(), counts / counts.sum(), DRAWS)
            total += drawn.astype(float) @ self.confusion[:, inside]
        return _square(total)

    def swap(self, rng: np.random.Generator) -> np.ndarray:
        """(2R, DRAWS, 13, 13) confusion matrices after each unit's first and last R models changed places or not."""
        swapped = rng.binomial(self.counts, 0.5, (DRAWS, len(self.counts)))
        other = np.roll(self.confusion, len(self.confusion) // 2, axis=0)
        return _square((self.counts - swapped) @ self.confusion + swapped @ other)


def _units(
    target: np.ndarray, predictions: np.ndarray, group: np.ndarray | None, frequencies: np.ndarray | None
) -> tuple[np.ndarray, _Units]:
    """Class counts, and the units of (N,) targets and (models, N) predictions."""
    images = np.bincount(target, minlength=len(CLASSES))
    kinds, kind, counts = np.unique([target, *predictions], axis=1, return_inverse=True, return_counts=True)
    confusion = np.eye(len(CLASSES) ** 2)[np.ravel_multi_index((kinds[0], kinds[1:]), (len(CLASSES), len(CLASSES)))]
    if frequencies is not None:
        confusion *= (frequencies / np.maximum(images, 1))[kinds[0]][:, None]
    if group is None:
        return images, _Units(counts, kinds[0], confusion)
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
    extreme = int(np.count_nonzero(np.abs(swapped) >= abs(value) - 1e-12))  # equal differences differ by rounding
    return (extreme + 1) / (DRAWS + 1)
