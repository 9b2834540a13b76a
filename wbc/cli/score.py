"""Score predictions for images whose labels are known."""

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.dataset.listing import ImageFolder, ListError, read_rows
from wbc.statistics import confusion_matrix, intervals, patients

TITLES = {"f1": "macro F1", "accuracy": "accuracy", "f1_common": "macro F1 without classes of fewer than 5 images"}


def read_labels(patterns: Sequence[str], table: Path | None) -> tuple[dict[Path, tuple[str, str]], list[str]]:
    """The label and the group ("": unknown) of each labelled image in folders, and why lines of a list label no image.

    They stand in a list `ID,labels[,group]`, which is `table` or each folder's own `labels.csv`. Without a list,
    subfolders are named after classes.

    Raises:
        ListError: `table` cannot be read.
        UserError: no line of `table` labels an image.
    """
    labels, faults = {}, []
    folders = [Path(pattern) for pattern in patterns if Path(pattern).is_dir()]
    for folder in folders:
        images, rows, own = ImageFolder(folder), [], folder / "labels.csv"
        if not table and not own.exists():
            for file in images.paths:
                names = [name for name in file.relative_to(folder).parts[:-1] if name in CLASSES]
                labels[file] = (names[-1] if names else "", "")
            continue
        try:
            rows = read_rows(table or own, ("ID", "labels"))
        except ListError as error:
            if table:
                raise
            print(f"no scores: {error}", file=sys.stderr)
        for row in rows:
            file = images.find(row["ID"])
            if isinstance(file, str):
                faults.append(f"in the list: {file.partition(':')[0]}")
            elif labels.setdefault(file, (row["labels"], row.get("group", "")))[0] != row["labels"]:
                faults.append("in the list: id under two labels")
                labels[file] = ("", "")
    labels = {file: known for file, known in labels.items() if known[0]}
    if table and not labels:
        names = ", ".join(map(str, folders)) or "the arguments, which name no folder"
        raise UserError(f"{table}: labels no image in {names}; name the folder of its images")
    return labels, faults


def score(
    predicted: Mapping[Path, str],
    labels: Mapping[Path, tuple[str, str]],
    faults: Sequence[str],
    unseen: Collection[int],
) -> dict[str, Any]:
    """Macro F1 over the classes that the images have, accuracy, their 95% intervals, and the confusion matrix.

    Args:
        predicted: the class by file, "" where it is unreadable.
        labels: see `read_labels`.
        faults: see `read_labels`.
        unseen: indices of classes that the model cannot predict; their images count as wrong.
    """
    known = [(str(file), *labels.get(file, ("", "")), label) for file, label in predicted.items()]
    table = pd.DataFrame(known, columns=["id", "label", "group", "predicted"])
    reason = ("unknown label " + table["label"].map(repr)).where(table["label"] != "", "no label")
    reason = reason.where(table["predicted"] != "", "unreadable")
    used = table["label"].isin(CLASSES) & (table["predicted"] != "")
    table = table[used]
    target, prediction = (table[name].map(CLASSES.index).to_numpy("int64") for name in ("label", "predicted"))
    found: dict[str, Any] = {"images": len(table)}
    if len(table):
        for name, it in intervals(target, prediction, patients(table, table["id"])).items():
            found |= {name: it.value, f"{name}_low": it.low, f"{name}_high": it.high}
    shown = [label for label in CLASSES if label in {*table["label"], *table["predicted"]}]
    confusion = pd.DataFrame(confusion_matrix(target, prediction), CLASSES, CLASSES).loc[shown, shown]
    never_seen = table["label"][table["label"].isin([CLASSES[c] for c in unseen])]
    counts = {"left_out": Counter([*faults, *reason[~used]]), "never_seen": Counter(never_seen)}
    return found | {"confusion": confusion.to_dict("index")} | counts


def format_scores(found: Mapping[str, Any]) -> str:
    """The result of `score` as text."""
    text = [f"{found['images']} images with a label"]
    for name in [name for name in TITLES if name in found]:
        low, high = found[f"{name}_low"], found[f"{name}_high"]
        text.append(f"{TITLES[name]} {found[name]:.3f} (95% interval {low:.3f}–{high:.3f})")
    text += [f"left out, {why}: {count}" for why, count in found["left_out"].items()]
    text += [f"{c}: {n} images of a class that the model cannot predict" for c, n in found["never_seen"].items()]
    if found["images"]:
        text.append("confusion matrix: true class down, prediction across")
        text.append(pd.DataFrame.from_dict(found["confusion"], "index").to_string())
    return "\n".join(text)
