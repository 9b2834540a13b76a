"""What `dvc plots` draws: all rows in one chart."""

import pandas as pd

from wbc.report.study import Study

PARTS = {"validation": "val", "training": "train"}


def epochs(study: Study) -> pd.DataFrame:
    """Of every network and both `PARTS`, a line per epoch: row, part, epoch, loss, f1."""
    tables = []
    for row, history in study.histories.items():
        for part, name in PARTS.items():
            values = history[["epoch", f"{name}/loss", f"{name}/f1"]].set_axis(["epoch", "loss", "f1"], axis=1)
            tables.append(values.assign(row=row, part=part))
    return pd.concat(tables)[["row", "part", "epoch", "loss", "f1"]]


def classes(study: Study) -> pd.DataFrame:
    """F1 of each class on the validation part, or over the folds of the best classical rows: row, class, f1, images."""
    names = study.best_classical | {row: row for row in study.networks}
    tables = [
        study.per_class(name, "validation").reset_index(names="class").assign(row=row) for row, name in names.items()
    ]
    return pd.concat(tables)[["row", "class", "f1", "images"]]
