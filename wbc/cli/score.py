"""Scores of classified images whose labels are known."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wbc.cli.classify import Classified
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.dataset.listing import ImageFolder, ListError, read_rows
from wbc.models.model import Model
from wbc.statistics import confusion_matrix, intervals, patients

LIST = "labels.csv"


class Labels(NamedTuple):
    """What is known of images before they are classified."""

    label: Mapping[Path, str]  # of any spelling
    group: Mapping[Path, str]  # such as the patient; "": unknown
    faults: Sequence[str]  # why a line of a list labels no image


def read_labels(patterns: Sequence[str], table: Path | None) -> Labels:
    """The labels of the images below folders: of a list `ID,labels[,group]`, else a folder's name that is a class.

    The list is `table`, or each folder's own `labels.csv`. An ID means a file as it does for `data.source` folder.

    Raises:
        ListError: `table` cannot be read.
        UserError: there is a `table` but no folder, or none of its lines labels an image.
    """
    labels, groups, faults = {}, {}, []
    folders = [Path(pattern) for pattern in patterns if Path(pattern).is_dir()]
    for folder in folders:
        images = ImageFolder(folder)
        rows = []
        if table or (folder / LIST).exists():
            try:
                rows = read_rows(table or folder / LIST, ("ID", "labels"))
            except ListError as error:
                if table:
                    raise
                print(f"no scores: {error}", file=sys.stderr)
        else:
            for file in images.paths:
                classes = [name for name in file.relative_to(folder).parts[:-1] if name in CLASSES]
                labels |= {file: classes[-1]} if classes else {}
        for row in rows:
            file = images.find(row["ID"])
            if isinstance(file, str):
                faults.append(file.partition(":")[0])
            elif labels.setdefault(file, row["labels"]) != row["labels"]:
                faults.append("id under two labels")
                labels[file] = ""
            else:
                groups[file] = row.get("group", "")
    if table and not any(labels.values()):
        wrong = f"labels no image in {', '.join(map(str, folders))}" if folders else "its IDs are of files in a folder"
        raise UserError(f"{table}: {wrong}; name the folder of its images")
    return Labels(labels, groups, faults)


def score(model: Model, files: Sequence[Path], rows: Sequence[Classified], labels: Labels) -> dict[str, Any]:
    """Macro F1 over the classes that the images have, and accuracy, with their 95% intervals, and the confusion matrix.

    Args:
        model: which classified.
        files: the images.
        rows: what it says of each.
        labels: what is known of them.

    Returns:
        `images`, `f1`, `f1_low`, `f1_high`, … as `wbc.statistics.scores` names them, `confusion` by true class
        and prediction, `left_out` by reason, and `never_seen`: images of classes that the model cannot name, which
        count as wrong. No score where no image has a label of a known class.
    """
    left_out, chosen = Counter(f"in the list: {fault}" for fault in labels.faults), []
    for file, row in zip(files, rows, strict=True):
        label = labels.label.get(file, "")
        if label in CLASSES and row.label:
            chosen.append((str(file), label, row.label, labels.group.get(file, "")))
        else:
            left_out["unreadable" if not row.label else f"unknown label {label!r}" if label else "no label"] += 1
    table = pd.DataFrame(chosen, columns=["id", "label", "predicted", "group"])
    target, predicted = (table[name].map(CLASSES.index).to_numpy(np.int64) for name in ("label", "predicted"))
    found: dict[str, Any] = {"images": len(table)}
    if len(table):
        for name, it in intervals(target, predicted, patients(table, table["id"])).items():
            found |= {name: it.value, f"{name}_low": it.low, f"{name}_high": it.high}
    unknown = [CLASSES[c] for c in model.unseen]
    shown = [label for label in CLASSES if label in {*table["label"], *table["predicted"]}]
    counts = pd.DataFrame(confusion_matrix(target, predicted), CLASSES, CLASSES).loc[shown, shown]
    return found | {
        "confusion": counts.to_dict("index"),
        "left_out": dict(left_out),
        "never_seen": table.loc[table["label"].isin(unknown), "label"].value_counts().to_dict(),
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """What `score` returned, for people."""
    titles = {"f1": "macro F1", "accuracy": "accuracy", "f1_common": "macro F1 without classes of fewer than 5 images"}
    text = [f"{found['images']} images with a label"]
    for name, title in titles.items():
        if name in found:
            low, high = found[f"{name}_low"], found[f"{name}_high"]
            text.append(f"{title} {found[name]:.3f} (95% interval {low:.3f}–{high:.3f})")
    text += [f"left out, {why}: {count}" for why, count in found["left_out"].items()]
    text += [f"{label}: {n} images of a class that the model cannot name" for label, n in found["never_seen"].items()]
    if found["images"]:
        counts = pd.DataFrame.from_dict(found["confusion"], "index")
        text += ["confusion matrix: true class down, prediction across", counts.to_string()]
    return text
