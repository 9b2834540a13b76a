"""Labels that are probably wrong: cells whose label a model finds improbable that was not trained on them."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.scoring.predictions import read_predictions

COLUMNS = ("id", "label", "probability", "suggested", "suggested_probability", "by")


def suspects(path: Path) -> pd.DataFrame:
    """The training cells that a classifier takes for another class, with `COLUMNS`.

    Each by the classifier that was trained on the folds without it, the least probable label first. On labels that
    were exchanged on purpose this order did better than confident learning's: docs/evidence.md.

    Args:
        path: a classifier's predictions, runs/<features>-<repeat>/classical/<classifier>.npz.

    Raises:
        UserError: these are not its predictions.
    """
    try:
        found = read_predictions(path, "validation")
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile):  # TypeError: an array alone, .npy
        found = None
    if found is None:
        raise UserError(f"{path}: not a classifier's predictions, runs/<features>-<repeat>/classical/<classifier>.npz")
    target, probabilities = found.target, found.probabilities
    suggested, of_label = probabilities.argmax(1), probabilities[np.arange(len(target)), target]
    order = np.argsort(of_label, kind="stable")
    order = order[suggested[order] != target[order]]
    lines = [
        (
            found.ids[i], CLASSES[target[i]], of_label[i], CLASSES[suggested[i]], probabilities[i, suggested[i]],
            path.stem,
        )
        for i in order
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(COLUMNS))
