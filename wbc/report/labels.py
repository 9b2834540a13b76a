"""Labels that are probably wrong: cells whose label a model finds improbable that was not trained on them."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.errors import UserError
from wbc.evaluate.scores import macro_f1

COLUMNS = ("id", "label", "probability", "suggested", "suggested_probability", "by")


def suspects(path: Path, best: str = "") -> pd.DataFrame:
    """The training cells that a classifier of a feature set takes for another class, with `COLUMNS`.

    Each by the classifier that was trained on the folds without it, the least probable label first. On labels that
    were exchanged on purpose this order did better than confident learning's: docs/evidence.md.

    Args:
        path: of `stages.classical`'s predictions.
        best: the classifier's name; without it, the one with the best macro F1 of these predictions.

    Raises:
        UserError: these are not its predictions.
    """
    try:
        with np.load(path) as stored:
            arrays = {key: stored[key] for key in stored if "out_of_fold" in key}
            target = arrays.pop("out_of_fold_targets")
            ids = arrays.pop("out_of_fold_ids")
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile):  # TypeError: an array alone, .npy
        raise UserError(f"{path}: not the predictions of a feature set, data/predictions/<set>-<repeat>.npz") from None
    arrays = {name.removesuffix("_out_of_fold"): chances for name, chances in arrays.items()}
    by = best or max(arrays, key=lambda name: macro_f1(target, arrays[name].argmax(1)))
    chances = arrays[by]
    suggested, of_label = chances.argmax(1), chances[np.arange(len(target)), target]
    order = np.argsort(of_label, kind="stable")
    order = order[suggested[order] != target[order]]
    found = [
        (ids[i], CLASSES[target[i]], of_label[i], CLASSES[suggested[i]], chances[i, suggested[i]], by) for i in order
    ]
    return pd.DataFrame(found, columns=list(COLUMNS))
