"""Labels that are probably wrong: cells whose label a model finds improbable that was not trained on them."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.scoring.predictions import Predictions, read_predictions
from wbc.scoring.scores import macro_f1

COLUMNS = ("id", "label", "probability", "suggested", "suggested_probability", "by")


def suspects(path: Path) -> pd.DataFrame:
    """The training cells that a classifier takes for another class, with `COLUMNS`.

    Each by the classifier that was trained on the folds without it, the least probable label first. On labels that
    were exchanged on purpose this order did better than confident learning's: docs/results.md.

    Args:
        path: a classifier's predictions, runs/<features>-<repeat>/classical/<classifier>.npz, or the folder: then of
            the classifier with the best macro F1 on these cells.

    Raises:
        UserError: there are no such predictions.
    """
    each = {file.stem: _read(file) for file in (sorted(path.glob("*.npz")) if path.is_dir() else [path])}
    if not each:
        raise UserError(
            f"{path}: no classifier's predictions; dvc repro leaves them in runs/<features>-<repeat>/classical"
        )
    by, found = max(each.items(), key=lambda item: macro_f1(item[1].target, item[1].probabilities.argmax(1)))
    target, probabilities = found.target, found.probabilities
    suggested, of_label = probabilities.argmax(1), probabilities[np.arange(len(target)), target]
    order = np.argsort(of_label, kind="stable")
    order = order[suggested[order] != target[order]]
    lines = [
        (found.ids[i], CLASSES[target[i]], of_label[i], CLASSES[suggested[i]], probabilities[i, suggested[i]], by)
        for i in order
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _read(file: Path) -> Predictions:
    try:
        found = read_predictions(file, "validation")
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile):  # TypeError: an array alone, .npy
        found = None
    if found is None:
        raise UserError(f"{file}: not a classifier's predictions, runs/<features>-<repeat>/classical/<classifier>.npz")
    return found
