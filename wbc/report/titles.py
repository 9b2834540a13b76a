"""What each row of the results ran here, in words."""

from collections.abc import Mapping
from typing import Any

from wbc.config.files import BASE, DRAWN_CELLS
from wbc.features import feature_set
from wbc.report.published import NAMES
from wbc.report.study import Study

# Settings in the order of a title; those up to the epochs are said of a row that stands on no other.
WORDS = {
    "model.name": "{}",
    "model.weights": {
        "imagenet": "ImageNet weights",
        "none": "from scratch",
        DRAWN_CELLS.as_posix(): "weights learned from drawn cells without labels",
    },
    "loss.name": {"focal": "focal loss", "cross_entropy": "cross-entropy"},
    "loss.gamma": "γ = {:g}",
    "loss.class_weights": {
        "none": "no class weights",
        "log_dampened": "log-dampened class weights",
        "inverse_sqrt": "1/√n class weights",
    },
    "mix.mixup_alpha": "MixUp α = {:g}",
    "mix.cutmix_alpha": "CutMix α = {:g}",
    "schedule.name": {"cosine": "cosine schedule", "restarts": "warm restarts"},
    "schedule.period": "cycles of {} epochs",
    "train.freeze": "{} frozen epochs",
    "train.epochs": "{} epochs",
    "train.patience": "patience {}",
    "train.sampler": {"weighted": "classes equally often", "shuffle": "every image once"},
    "train.retrain": "a new head for {} more",
    "train.soup": "mean of {} cycles' ends",
    "train.validation": "{:.0%} validation",
    "optim.weight_decay": "weight decay {:g}",
    "optim.lr_backbone": "backbone lr {:g}",
    "optim.lr_head": "head lr {:g}",
    "model.dropout": "dropout {:g}",
}
ALONE = list(WORDS)[: list(WORDS).index("train.epochs") + 1]


def title(row: Mapping[str, Any]) -> str:
    """What a row of the ladder stands on and changes, or what it is where it stands on no other.

    Args:
        row: `from`, the row it stands on or `base`, and its resolved settings by group: those that differ from that
            row's, all of them on `base`.
    """
    settings = {}
    for group, values in row.items():
        nested = isinstance(values, Mapping)
        settings |= {f"{group}.{key}": value for key, value in values.items()} if nested else {group: values}
    base = settings.pop("from")
    if base == BASE:
        return ", ".join(_phrase(key, settings[key]) for key in ALONE if settings.get(key))  # a share of 0 does not act
    keys = [*(key for key in WORDS if key in settings), *(key for key in settings if key not in WORDS)]
    return f"{base} + " + (", ".join(_phrase(key, settings[key]) for key in keys) or "nothing")


def _phrase(key: str, value: Any) -> str:
    words = WORDS.get(key, f"{key} {{}}")
    if isinstance(words, Mapping):
        words = words.get(value, f"{key} {{}}")
    return words.format(value)


def titles(study: Study) -> dict[str, str]:
    """By row of the results: what ran here, the classical rows first, then the ladder's."""
    found = {}
    for name, best in study.best_classical.items():
        model = study.models[best]
        count = sum(other.run == model.run for other in study.of_kind("classifier"))
        words = f"{NAMES.get(model.classifier, model.classifier)}, {len(feature_set(model.run).NAMES)} features"
        found[name] = f"{words}: best of {count} classifiers"
    grid = "SMOTE, gradient boosting: {n_estimators} rounds, depth {max_depth} of the grid"
    found["v2-gridsearch"] = grid.format(**study.grid)
    found |= {name: title(row) for name, row in study.ladder.items()}
    both = "mean of {row}'s probabilities and those of {model} on {features}"
    partner = {"model": NAMES[study.blend["classifier"]], "features": study.blend["features"]}
    found |= {model.name: both.format(row=study.blend["row"], **partner) for model in study.of_kind("blend")}
    several = f"mean of its {len(study.repeats)} networks' probabilities"
    found |= {f"{model.name}-ensemble": several for kind in ("network", "blend") for model in study.of_kind(kind)}
    return found | ({"convnext_restarts-tta": "its TTA"} if "convnext_restarts" in found else {})
