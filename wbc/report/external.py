"""What each row scores on the images of other laboratories, beside its score at home over the same classes."""

import json

import numpy as np
import pandas as pd

from wbc.evaluate.intervals import intervals
from wbc.report.study import DATA, METRICS, Study

SHARED = ("f1", "accuracy", "ece")  # of the other laboratory's images, and with `home_` of the row's own test part
SEPARATION = ("unusual_at_home", "unusual", "auroc")
BOUNDS = tuple(f"{name}_{end}" for name in ("f1", "accuracy") for end in ("low", "high"))
COLUMNS = ("set", "row", "images", "classes", *(f"home_{name}" for name in SHARED), *SHARED, "f1_tta", *BOUNDS)
COLUMNS += SEPARATION


def external(study: Study) -> pd.DataFrame:
    """A line for each set and row with the columns `COLUMNS`, of repeats the means; NaN where there is nothing.

    `f1` and `accuracy` have 95% intervals as on the test part: other images of that laboratory, of its patients where
    these are known.
    """
    lines = []
    for name in study.external:
        each = [json.loads((METRICS / f"external/{name}-{r}.json").read_text("utf-8")) for r in study.repeats]
        for row in each[0]:
            means = pd.DataFrame([of_repeat[row] for of_repeat in each]).mean().to_dict()
            lines.append({"set": name, "row": row, **means, **_bounded(study, name, row)})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _bounded(study: Study, name: str, row: str) -> dict[str, float]:
    """How many images there are, of how many classes, that both laboratories have; the bounds of the scores on them."""
    predicted = []
    for repeat in study.repeats:
        with np.load(DATA / f"predictions/external/{name}-{repeat}.npz") as stored:
            both = np.isin(stored["targets"], stored["common"])
            target, group = stored["targets"][both], stored["groups"][both] if "groups" in stored else None
            predicted.append(stored[row][both].argmax(1))
    found = {"images": len(target), "classes": len(np.unique(target))}
    if len(target):
        for score, it in intervals(target, np.stack(predicted), group).items():
            found |= {f"{score}_low": it.low, f"{score}_high": it.high}
    return found
