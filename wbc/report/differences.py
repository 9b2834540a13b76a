"""Which rows differ: each against the row that it stands on, and against the best network on the validation part."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.config import ENSEMBLE
from wbc.evaluate.intervals import RARE, differences
from wbc.report.study import Study

BELOW, BEST = "stands on it", "best on validation"
COLUMNS = ("row", "against", "why", "score", "difference", "low", "high", "p", "verdict")


def pairs(study: Study) -> Iterator[tuple[str, str, str]]:
    """Row, the row it is compared with, and why with that one: of those that have labelled test images."""
    for row in study.test.predicted:
        if row == "convnext_restarts_tta":  # the one TTA that the report lists as a row of its own
            yield row, "convnext_restarts", BELOW
        elif row in study.measured:
            alone = row.removesuffix(ENSEMBLE)
            below = alone if alone != row else study.blends.get(row) or study.ladder.get(row, {}).get("from")
            if below in study.measured:
                yield row, below, BELOW
            if row in study.blends:
                yield row, "{features}-{classifier}".format(**study.blend), BELOW
            if study.best not in (row, below):
                yield row, study.best, BEST


def compared(study: Study) -> pd.DataFrame:
    """The differences of macro F1 on the test part, with the columns `COLUMNS`: none where no image is labelled.

    Where classes are rare, macro F1 without these, `f1_common`, follows each. Intervals and p are those of
    `wbc.evaluate.intervals.differences`.
    """
    target, group, predicted = study.test
    lines = []
    for row, against, why in pairs(study) if len(target) else ():
        for score, it in differences(target, predicted[row], predicted[against], group).items():
            if score != "accuracy":
                lines.append((row, against, why, score, it.value, it.low, it.high, it.p, it.verdict))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def rare(study: Study) -> list[str]:
    """Classes with so few labelled test images that their F1 is chance."""
    images = np.bincount(study.test.target, minlength=len(CLASSES))
    return [label for label, count in zip(CLASSES, images, strict=True) if 0 < count < RARE]
