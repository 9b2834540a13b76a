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
NAMES = _DATA["names"]  # of the classifiers
