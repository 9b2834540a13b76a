"""What each model scores on the images of other laboratories, beside its score at home over the same classes."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from wbc.core.tables import read_manifest, targets
from wbc.report.study import Model, Study
from wbc.scoring.calibration import calibration
from wbc.statistics import confusion_matrix, intervals, patients, scores

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
        manifest, common = read_manifest(name), common_classes(study, name)
        for model in models_tested(study, name):
            each = [dict(_scores(model, repeat, name, common)) for repeat in study.repeats]
            bounds = _bounds(study, model, name, common, manifest)
            lines.append({"set": name, "row": model.name, **pd.DataFrame(each).mean().to_dict(), **bounds})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def models_tested(study: Study, name: str) -> list[Model]:
    """Those that predicted an external set: the networks, their blends, the grid search, then the classifiers."""
    order = ("network", "blend", "gridsearch", "classifier")
    return [model for kind in order for model in study.of_kind(kind) if model.predictions(study.first, name)]


def common_classes(study: Study, name: str) -> np.ndarray:
    """The class indices that an external set shares with the training part."""
    known = targets(study.manifest[study.manifest["part"] == "train"])
    return np.intersect1d(targets(read_manifest(name)), known)


def _scores(model: Model, repeat: int, name: str, common: np.ndarray) -> Iterator[tuple[str, float]]:
    home, away = (model.calibrated(repeat, part) for part in ("test", name))
    for score, value in scored(home.target, home.probabilities, common).items() if home else ():
        yield f"home_{score}", value
    yield from scored(away.target, away.probabilities, common).items()
    if away.tta is not None:
        for score, value in scored(away.target, away.tta, common).items():
            yield f"{score}_tta", value
    if home and away.novelty is not None:
        yield from novelty_scores(home.novelty, away.novelty).items()


def _bounds(study: Study, model: Model, name: str, common: np.ndarray, manifest: pd.DataFrame) -> dict[str, float]:
    """How many images there are, of how many classes, that both laboratories have; the bounds of the scores on them."""
    each = [model.predictions(repeat, name) for repeat in study.repeats]
    both = np.isin(each[0].target, common)
    target, groups = each[0].target[both], patients(manifest, each[0].ids)
    found = {"images": len(target), "classes": len(np.unique(target))}
    if len(target):
        predicted = np.stack([it.probabilities[both].argmax(1) for it in each])
        for score, it in intervals(target, predicted, None if groups is None else groups[both]).items():
            found |= {f"{score}_low": it.low, f"{score}_high": it.high}
    return found


def scored(target: np.ndarray, probabilities: np.ndarray, common: np.ndarray) -> dict[str, float]:
    """Scores of one part, of its images of the classes that both laboratories have.

    Args:
        target: (N,) integer targets, -1 where unknown.
        probabilities: (N, 13) calibrated probabilities. Who names a class that is not among the common ones is wrong.
        common: (C,) integer classes.

    Returns:
        `f1`, macro F1 over the common classes that the part has; `accuracy`; `ece`; `nll` in nats. Nothing if no image
        is of a common class.
    """
    both = np.isin(target, common)
    if not both.any():
        return {}
    target, probabilities = target[both], probabilities[both]
    confusion = confusion_matrix(target, probabilities.argmax(1))
    found = scores(confusion, confusion.sum(1))
    errors = calibration(target, probabilities)
    return {name: float(found[name]) for name in ("f1", "accuracy")} | {name: errors[name] for name in ("ece", "nll")}


def novelty_scores(home: np.ndarray, away: np.ndarray) -> dict[str, float]:
    """Whether distances from the training images tell the other laboratory's from those of the test part at home.

    Args:
        home: (N,) distances of the test part at home; beyond 1 an image is called unusual.
        away: (M,) of the other laboratory's images.

    Returns:
        `unusual_at_home` and `unusual`, the shares so called, and `auroc`, of 1 where all of the others' lie farther.
    """
    truth = np.repeat([0, 1], [len(home), len(away)])
    return {
        "unusual_at_home": float((home > 1).mean()),
        "unusual": float((away > 1).mean()),
        "auroc": float(roc_auc_score(truth, np.concatenate([home, away]))),
    }
