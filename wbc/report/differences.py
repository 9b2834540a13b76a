"""Which rows differ: each against the row that it stands on, and against the best network on the validation part."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.report.study import Study
from wbc.statistics import RARE, differences

BELOW, BEST = "stands on it", "best on validation"
COLUMNS = ("row", "against", "why", "score", "difference", "low", "high", "p", "verdict")


def pairs(study: Study) -> Iterator[tuple[tuple[str, bool], tuple[str, bool], str]]:
    """A model, the one it is compared with, each with or without TTA, and why: of those with labelled test images."""
    for name, tta in study.test.predicted:
        if tta:
            if name == "convnext_restarts":  # the one TTA that the report lists as a row of its own
                yield (name, True), (name, False), BELOW
        elif name in study.measured:
            alone = name.removesuffix("-ensemble")
            model = study.models.get(name)
            blended = model is not None and model.kind == "blend"
            below = study.blend["row"] if blended else study.ladder.get(name, {}).get("from")
            below = alone if alone != name else below
            if below in study.measured:
                yield (name, False), (below, False), BELOW
            if blended:
                yield (name, False), ("{features}-{classifier}".format(**study.blend), False), BELOW
            if study.best not in (name, below):
                yield (name, False), (study.best, False), BEST


def compared(study: Study) -> pd.DataFrame:
    """The differences of macro F1 on the test part, with the columns `COLUMNS`: none where no image is labelled.

    Where classes are rare, macro F1 without these, `f1_common`, follows each. Intervals and p are those of
    `wbc.statistics.differences`.
    """
    target, group, predicted = study.test
    lines = []
    for row, against, why in pairs(study) if len(target) else ():
        for score, it in differences(target, predicted[row], predicted[against], group).items():
            if score != "accuracy":
                names = (f"{name}-tta" if tta else name for name, tta in (row, against))
                lines.append((*names, why, score, it.value, it.low, it.high, it.p, it.verdict))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def rare(study: Study) -> list[str]:
    """Classes with so few labelled test images that their F1 is chance."""
    images = np.bincount(study.test.target, minlength=len(CLASSES))
    return [label for label, count in zip(CLASSES, images, strict=True) if 0 < count < RARE]
