"""The results table: every model of the study, measured and published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from wbc.config.files import BASE, DRAWN_CELLS
from wbc.core.errors import UserError
from wbc.dataset.listing import read_rows
from wbc.features import feature_set
from wbc.report.published import NAMES, ROWS, Published
from wbc.report.study import Study
from wbc.report.tables import markdown_table, number_with_interval

BOUNDED = ("test_f1", "test_f1_common", "test_f1_tta", "test_accuracy")  # scores with a 95% interval
MEASURED = ("val_f1", "val_f1_last", "val_f1_tta", *BOUNDED)
PUBLISHED = ("published_title", "published_val_f1", "published_leaderboard")
COLUMNS = ("row", "title", *MEASURED, "public_score", *PUBLISHED)
COLUMNS += (*(f"{name}_{end}" for name in BOUNDED for end in ("low", "high")), *(f"{name}_sd" for name in MEASURED))
WORDS = ("row", "title", "published_title")  # columns that hold no numbers
HEADLINES = ("val_f1", "val_f1_tta", "test_f1", "test_f1_tta")  # in the metrics file
HEADINGS = {  # of the columns that are shown
    "row": "model",
    "title": "what it is",
    "val_f1": "val F1",
    "test_f1": "test F1",
    "test_f1_tta": "test F1 with TTA",
    "test_accuracy": "test accuracy",
    "published_val_f1": "report: val F1",
    "published_leaderboard": "report: leaderboard",
}
EXTRA = {"test_f1_common": "test F1 without rare classes", "public_score": "public score"}  # on the page, where known

SETTINGS = {  # phrases of a row's title, in their order
    "model.name": "{}",
    "model.weights": {
        "imagenet": "ImageNet weights",
        "none": "no pretrained weights",
        DRAWN_CELLS.as_posix(): "weights from synthetic cells",
    },
    "model.size": "{} px",
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
    "train.patience": {0: "last epoch kept", None: "patience {}"},
    "train.sampler": {"weighted": "balanced sampling", "shuffle": "no balanced sampling"},
    "train.retrain": "head retrained for {} epochs",
    "train.validation": "{:.0%} validation",
    "optim.weight_decay": "weight decay {:g}",
    "optim.lr_backbone": "backbone lr {:g}",
    "optim.lr_head": "head lr {:g}",
    "model.dropout": "dropout {:g}",
}
MAIN = list(SETTINGS)[: list(SETTINGS).index("schedule.name") + 1]  # in the title of a row that stands alone


def title(row: Mapping[str, Any]) -> str:
    """What a row of the ladder changes of the row it builds on; its main settings where it builds on none.

    Args:
        row: `from`, a row or `base`, and by group the resolved settings that differ from that row's, or all of them.
    """
    settings = {}
    for group, values in row.items():
        nested = isinstance(values, Mapping)
        settings |= {f"{group}.{key}": value for key, value in values.items()} if nested else {group: values}
    if (base := settings.pop("from")) == BASE:
        acting = (key for key in MAIN if settings.get(key) and (key, settings[key]) != ("loss.class_weights", "none"))
        return ", ".join(_phrase(key, settings[key]) for key in acting)
    keys = [*(key for key in SETTINGS if key in settings), *(key for key in settings if key not in SETTINGS)]
    return f"{base} + " + (", ".join(_phrase(key, settings[key]) for key in keys) or "nothing")


def _phrase(key: str, value: Any) -> str:
    words = SETTINGS.get(key, f"{key} {{}}")
    if isinstance(words, Mapping):
        words = words.get(value, words.get(None, f"{key} {{}}"))
    return words.format(value)


def titles(study: Study) -> dict[str, str]:
    """What each model is, in words."""
    found = {name: title(row) for name, row in study.ladder.items()}
    for name, best in study.best_classical.items():
        _, _, features, classifier = study.models[best]
        count = sum(model.run == features for model in study.of_kind("classifier"))
        words = f"{NAMES.get(classifier, classifier)} on {len(feature_set(features).NAMES)} features"
        found[name] = f"{words}, best of {count} classifiers"
    found["v2-gridsearch"] = "SMOTE, gradient boosting: {n_estimators} rounds, depth {max_depth}".format(**study.grid)
    blend = "mean of {row} and the best classifier on {features}".format(**study.blend)
    found |= {model.name: blend for model in study.of_kind("blend")}
    several = f"mean of its {len(study.repeats)} repeats"
    found |= {f"{model.name}-ensemble": several for model in study.of_kind("network", "blend")}
    return found | {"convnext_restarts-tta": "convnext_restarts with TTA"}


def read_public_scores(path: Path, rows: Sequence[str]) -> dict[str, float]:
    """Read the leaderboard scores of submissions, by row, from a CSV file `row,score`, which may be empty.

    Raises:
        UserError: unknown or repeated row, or a score that is no number from 0 to 1.
        ListError: no CSV file with these columns.
    """
    scores = {}
    for place, line in enumerate(read_rows(path, ("row", "score")), start=1):
        row = line["row"]
        if row not in rows or row in scores:
            raise UserError(f"{path}, row {place}: {row!r} is {'listed twice' if row in scores else 'no row'}")
        scores[row] = float(pd.to_numeric(line["score"], errors="coerce"))
        if not 0 <= scores[row] <= 1:
            raise UserError(f"{path}, row {place}: score {line['score']!r} should be a number from 0 to 1")
    return scores


def results(study: Study, public: Mapping[str, float] = MappingProxyType({})) -> pd.DataFrame:
    """One line per model with the columns `COLUMNS`: first the report's, then the others. Missing numbers are NaN.

    `public` has the leaderboard scores by model.
    """
    words, measured = titles(study), dict(study.measured)
    if "convnext_restarts" in measured:  # the report lists this row's TTA as a row of its own
        scores = measured["convnext_restarts"].items()
        measured["convnext_restarts-tta"] = {key: value for key, value in scores if "_tta" in key}
    lines = [
        {"row": name, "title": words[name], "public_score": public.get(name)}
        | dict(zip(PUBLISHED, ROWS.get(name, Published()), strict=True))
        | measured[name]
        for name in [*(row for row in ROWS if row in measured), *(row for row in measured if row not in ROWS)]
    ]
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    return table.astype({name: float for name in COLUMNS if name not in WORDS})


def markdown(table: pd.DataFrame) -> str:
    """The results as Markdown; a column without any number is left out."""
    cells = pd.DataFrame({"model": "`" + table["row"] + "`", "what it is": table["title"]})
    for name, heading in HEADINGS.items():
        if name not in WORDS and table[name].notna().any():
            cells[heading] = [number_with_interval(line, name) for line in table.to_dict("records")]
    return markdown_table(cells) + "\n"
