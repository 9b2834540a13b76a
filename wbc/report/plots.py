"""Tables that `dvc plots` draws."""

import numpy as np
import pandas as pd

from wbc.core.classes import CLASSES
from wbc.report.study import Study


def epochs(study: Study) -> pd.DataFrame:
    """A line per network, part and epoch: row, part, epoch, loss, f1."""
    tables = [
        history.rename(columns={f"{name}/loss": "loss", f"{name}/f1": "f1"}).assign(row=row, part=part)
        for row, history in study.histories.items()
        for part, name in (("validation", "val"), ("training", "train"))
    ]
    return pd.concat(tables)[["row", "part", "epoch", "loss", "f1"]]


def classes(study: Study) -> pd.DataFrame:
    """A line per class of the best classical models and the networks, on validation: row, class, f1, images."""
    names = study.best_classical | {row: row for row in study.networks}
    tables = [study.per_class(name, "validation").assign(row=row) for row, name in names.items()]
    return pd.concat(tables).rename_axis("class").reset_index()[["row", "class", "f1", "images"]]


def confusion(study: Study) -> pd.DataFrame:
    """A line per validation image of the best network: actual, predicted."""
    counts = study.confusions[study.best_network, "validation"]
    pairs = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    return pd.DataFrame(np.array(CLASSES)[pairs].T, columns=["actual", "predicted"])
