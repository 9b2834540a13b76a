"""Scores on external sets, beside those on the study's own test part over the same classes."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from wbc.core.tables import read_manifest, targets
from wbc.report.study import Model, Study
from wbc.scoring.calibration import calibration_error
from wbc.scoring.scores import confusion_matrix, scores
from wbc.statistics import intervals, patients

SCORES = ("f1", "accuracy", "ece")
COLUMNS = ("set", "row", "images", "classes", *(f"test_{name}" for name in SCORES), *SCORES, "f1_tta")
COLUMNS += (
    *(f"{name}_{end}" for name in ("f1", "accuracy") for end in ("low", "high")),
    "test_novel",
    "novel",
    "auroc",
)


def external_scores(study: Study) -> pd.DataFrame:
    """A line for each external set and model with the columns `COLUMNS`, of repeats the means; missing is NaN.

    Scores are of the images of the common classes; names with `test_` are of the model's own test part. `f1` and
    `accuracy` have 95% intervals over images of the set, or its patients where known.
    """
    lines = []
    for name in study.external:
        common = common_classes(study, name)
        for model in study.of_kind("network", "blend", "gridsearch", "classifier"):
            if model.predictions(study.first, name):
                lines.append({"set": name, "row": model.name, **_scores(study, model, name, common)})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def common_classes(study: Study, name: str) -> np.ndarray:
    """The class indices that an external set shares with the training part."""
    known = targets(study.manifest[study.manifest["part"] == "train"])
    return np.intersect1d(targets(read_manifest(name)), known)


def _scores(study: Study, model: Model, name: str, common: np.ndarray) -> dict[str, float]:
    each, predicted = [], []
    for repeat in study.repeats:
        test, external = (model.calibrated(repeat, part) for part in ("test", name))
        found = common_scores(external.target, external.probabilities, common)
        if external.tta is not None:
            found |= {"f1_tta": common_scores(external.target, external.tta, common).get("f1")}
        if test:
            own = common_scores(test.target, test.probabilities, common)
            found |= {f"test_{score}": value for score, value in own.items()}
            if external.novelty is not None:
                found |= novelty_scores(test.novelty, external.novelty)
        each.append(found)
        predicted.append(external.probabilities.argmax(1))
    inside, group = np.isin(external.target, common), patients(read_manifest(name), external.ids)
    target = external.target[inside]
    means = pd.DataFrame(each, dtype=float).mean().to_dict() | {"images": len(target), "classes": len(set(target))}
    if len(target):
        group = None if group is None else group[inside]
        for score, it in intervals(target, np.stack(predicted)[:, inside], group).items():
            means |= {f"{score}_low": it.low, f"{score}_high": it.high}
    return means


def common_scores(target: np.ndarray, probabilities: np.ndarray, common: np.ndarray) -> dict[str, float]:
    """`SCORES` of the images of the common classes; empty where there are none.

    Args:
        target: (N,) integer targets, -1 where unknown.
        probabilities: (N, 13) calibrated probabilities. Predicting a class that is not common is an error.
        common: (C,) integer classes.
    """
    inside = np.isin(target, common)
    if not inside.any():
        return {}
    confusion = confusion_matrix(target[inside], probabilities[inside].argmax(1))
    found = scores(confusion, confusion.sum(1))
    found["ece"] = calibration_error(target[inside], probabilities[inside])
    return {name: float(found[name]) for name in SCORES}


def novelty_scores(test: np.ndarray, external: np.ndarray) -> dict[str, float]:
    """Fractions of (N,) test and (M,) external novelties above 1, and the AUROC of separating external from test."""
    truth, novelty = np.repeat([0, 1], [len(test), len(external)]), np.concatenate([test, external])
    fractions = {"test_novel": float((test > 1).mean()), "novel": float((external > 1).mean())}
    return fractions | {"auroc": float(roc_auc_score(truth, novelty))}
