"""Differences of models on the test part: from the model each builds on, and from the best network."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.report.study import Study
from wbc.scoring.scores import RARE
from wbc.statistics import differences

BUILDS, BEST = "builds on it", "best network on validation"
COLUMNS = ("row", "against", "why", "score", "difference", "low", "high", "p", "verdict")


def compare_models(study: Study) -> pd.DataFrame:
    """Differences of macro F1 with the columns `COLUMNS`, empty where no test image is labelled.

    Where classes are rare, a line for macro F1 without these, `f1_common`, follows each.
    """
    target, group, predicted = study.test
    lines = []
    for model, other, why in _pairs(study) if len(target) else ():
        names = [f"{name}-tta" if tta else name for name, tta in (model, other)]
        for score, it in differences(target, predicted[model], predicted[other], group).items():
            if score != "accuracy":
                lines.append((*names, why, score, it.value, it.low, it.high, it.p, it.verdict))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _pairs(study: Study) -> Iterator[tuple[tuple[str, bool], tuple[str, bool], str]]:
    """A model and the one to compare it with, each with or without TTA, and why."""
    for name, tta in study.test.predicted:
        if tta and name == "convnext_restarts":  # the report lists this TTA as a row of its own
            yield (name, True), (name, False), BUILDS
        if tta or name not in study.measured:
            continue
        blend = name in study.models and study.models[name].kind == "blend"
        bases = [study.blend["row"] if blend else study.ladder.get(name, {}).get("from")]
        if name.endswith("-ensemble"):
            bases = [name.removesuffix("-ensemble")]
        bases = [base for base in bases if base in study.measured]
        bases += ["{features}-{classifier}".format(**study.blend)] if blend else []
        yield from (((name, False), (base, False), BUILDS) for base in bases)
        if study.best_network not in (name, *bases):
            yield (name, False), (study.best_network, False), BEST


def rare_classes(study: Study) -> list[str]:
    """Labels of the classes with fewer than `RARE` test images, but not none."""
    images = np.bincount(study.test.target, minlength=len(CLASSES))
    return [label for label, count in zip(CLASSES, images, strict=True) if 0 < count < RARE]
