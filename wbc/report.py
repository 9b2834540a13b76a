"""The study's results table: published and reproduced, side by side."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Published(NamedTuple):
    """What the report prints for a row: macro F1 on its validation split and on the challenge's leaderboard."""

    title: str
    val_f1: float | None = None
    leaderboard: float | None = None


# By row, in the report's order: Tables 3 and 4 (their best classifier), 6, 7 and 8; §7.4 for the plain cosine.
PUBLISHED = {
    "classical_v1": Published("Best of six classifiers, 9 features", 0.326),
    "classical_v2": Published("Best of six classifiers, 89 features", 0.400),
    "gridsearch": Published("SMOTE + grid, gradient boosting", 0.521, 0.491),
    "efficientnet": Published("EfficientNet-B3, weighted cross-entropy", 0.646, 0.6850),
    "convnext_cosine": Published("ConvNeXt-Tiny, focal loss, cosine", 0.6460),
    "convnext_restarts": Published("+ warm restarts", 0.6960, 0.7327),
    "convnext_restarts_tta": Published("  its TTA", 0.6983, 0.7467),
    "mixup": Published("+ MixUp", 0.730, 0.7279),
    "freeze": Published("+ frozen backbone, 5 epochs", 0.723, 0.7601),
    "cutmix": Published("+ CutMix", 0.708, 0.7626),
    "final": Published("+ weight decay 1e-2, γ = 1, 1/√n weights", 0.725, 0.7739),
}
MEASURED = ("val_f1", "val_f1_tta", "test_f1", "test_f1_tta", "test_accuracy")
COLUMNS = ("row", "title", "published_val_f1", "published_leaderboard", *MEASURED)


def table(measured: Mapping[str, Mapping[str, float]], rows: Sequence[str]) -> list[dict[str, str | float | None]]:
    """One dict of `COLUMNS` per row: the report's, and after them those only the ladder has. None where unknown.

    Args:
        measured: by row, the values that exist of `MEASURED`.
        rows: the ladder's rows.
    """
    if "convnext_restarts" in measured:  # the report lists this row's TTA as a row of its own
        tta = {key: value for key, value in measured["convnext_restarts"].items() if key.endswith("tta")}
        measured = {**measured, "convnext_restarts_tta": tta}
    names = [*PUBLISHED, *(row for row in rows if row not in PUBLISHED)]
    result = []
    for name in names:
        published, found = PUBLISHED.get(name, Published(name)), measured.get(name, {})
        known = (name, published.title, published.val_f1, published.leaderboard)
        result.append(dict(zip(COLUMNS, (*known, *map(found.get, MEASURED)), strict=True)))
    return result


def markdown(rows: Sequence[Mapping[str, str | float | None]]) -> str:
    """The table as Markdown, `–` where a value does not exist."""
    head = ("row", "", "report: val F1", "leaderboard", "here: val F1", "+ TTA", "test F1", "+ TTA", "accuracy")
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * 2 + " ---: |" * (len(head) - 2),
    ]
    for row in rows:
        numbers = ["–" if row[column] is None else f"{row[column]:.3f}" for column in COLUMNS[2:]]
        lines.append("| " + " | ".join([f"`{row['row']}`", str(row["title"]).strip(), *numbers]) + " |")
    return "\n".join(lines) + "\n"
