"""Differences of models on the test part: from the model each builds on, and from the best network."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from wbc.config.files import BEST
from wbc.core.classes import CLASSES
from wbc.report.study import Study
from wbc.scoring.scores import RARE
from wbc.statistics import differences

COLUMNS = ("row", "against", "score", "difference", "low", "high", "p", "verdict")


def compare_models(study: Study) -> pd.DataFrame:
    """Differences of macro F1 with the columns `COLUMNS`, empty where no test image is labelled.

    Where classes are rare, a line for macro F1 without these, `f1_common`, follows each.
    """
    target, group, predicted = study.test
    lines = []
    for pair in _pairs(study) if len(target) else ():
        names = [f"{name}-tta" if tta else name for name, tta in pair]
        for score, it in differences(target, *(predicted[model] for model in pair), group).items():
            if score != "accuracy":
                lines.append((*names, score, it.value, it.low, it.high, it.p, it.verdict))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _pairs(study: Study) -> Iterator[tuple[tuple[str, bool], tuple[str, bool]]]:
    """A model and the one to compare it with, each with or without TTA."""
    for name, tta in study.test.predicted:
        if tta and name == "convnext_restarts":  # the report lists this TTA as a row of its own
            yield (name, True), (name, False)
        if tta or name not in study.measured:
            continue
        others = [study.ladder.get(name, {}).get("from")]
        if name.endswith("-ensemble"):
            others = [name.removesuffix("-ensemble")]
        elif name == BEST:
            others = [study.blend["row"], f"{study.blend['features']}-classical"]
        others = [other for other in others if (other, False) in study.test.predicted]
        yield from (
            ((name, False), (other, False)) for other in dict.fromkeys([*others, study.best_network]) if other != name
        )


def rare_classes(study: Study) -> list[str]:
    """Labels of the classes with fewer than `RARE` test images, but not none."""
    images = np.bincount(study.test.target, minlength=len(CLASSES))
    return [label for label, count in zip(CLASSES, images, strict=True) if 0 < count < RARE]
