"""Training images whose label is probably wrong."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.scoring.predictions import Predictions, read_predictions
from wbc.scoring.scores import macro_f1


def suspects(path: Path) -> pd.DataFrame:
    """The training images that a classifier, trained on the folds without them, assigns to another class.

    The least probable label comes first. On labels that were exchanged on purpose, this order finds more of them than
    confident learning's (docs/results.md).

    Args:
        path: a classifier's predictions, runs/<features>-<repeat>/classical/<classifier>.npz, or their folder. Of a
            folder, the classifier with the highest macro F1 on the training images is used.

    Returns:
        Columns id, label, probability, suggested, suggested_probability, by.

    Raises:
        UserError: there are no such predictions.
    """
    each = {file.stem: _read(file) for file in (sorted(path.glob("*.npz")) if path.is_dir() else [path])}
    if not each:
        raise UserError(
            f"{path}: no classifier's predictions; dvc repro leaves them in runs/<features>-<repeat>/classical"
        )
    by, found = max(each.items(), key=lambda item: macro_f1(item[1].target, item[1].probabilities.argmax(1)))
    suggested, rows = found.probabilities.argmax(1), np.arange(len(found.ids))
    table = pd.DataFrame(
        {"id": found.ids, "label": found.target, "probability": found.probabilities[rows, found.target]}
    )
    table = table.assign(suggested=suggested, suggested_probability=found.probabilities.max(1), by=by)
    table[["label", "suggested"]] = table[["label", "suggested"]].map(CLASSES.__getitem__)
    return table[suggested != found.target].sort_values("probability", kind="stable", ignore_index=True)


def _read(file: Path) -> Predictions:
    try:
        found = read_predictions(file, "validation")
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile):  # TypeError: an array alone, .npy
        found = None
    if found is None:
        raise UserError(f"{file}: not a classifier's predictions, runs/<features>-<repeat>/classical/<classifier>.npz")
    return found
