"""Numbers that the report prints: published.yaml as constants."""

from pathlib import Path
from typing import NamedTuple

from wbc.config.files import read_yaml


class Published(NamedTuple):
    """A row of the study: macro F1 on the report's validation split and on the challenge's leaderboard."""

    title: str | None = None
    val_f1: float | None = None
    leaderboard: float | None = None


_DATA = read_yaml(Path(__file__).with_name("published.yaml"))
ROWS = {name: Published(*values) for name, values in _DATA["rows"].items()}
FEATURES, CLASSIFIERS, AUGMENTATION = _DATA["features"], _DATA["classifiers"], _DATA["augmentation"]
PROGRESSION, PER_CLASS, OTHER, FIGURES = (_DATA[name] for name in ("progression", "per_class", "other", "figures"))
NAMES = {
    "random_forest": "Random forest",
    "gradient_boosting": "Gradient boosting",
    "knn": "KNN",
    "svm_rbf": "SVM (RBF)",
    "adaboost": "AdaBoost",
    "logistic_regression": "Logistic regression",
    "lda": "LDA",
}
# Not from the report, but from cells of the same hospital: Chula-WBC-8, labels.csv (its "label machine", and the
# summary of five experts).
CEILING = (
    "Labels limit what a score can mean: on 4,975 real cells of 11 classes, the labels of an analyser and those of "
    "five experts agree to a macro F1 of 0.725, and to 0.13 on BNE."
)
