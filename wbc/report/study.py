"""What the stages wrote, read back for the tables and figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.data.tables import read_manifest, targets
from wbc.evaluate.intervals import patients
from wbc.evaluate.scores import per_class

METRICS, PLOTS, DATA = Path("metrics"), Path("plots"), Path("data")
LAST = 5  # epochs whose mean validation F1 stands beside the best one's


class Predictions(NamedTuple):
    """The N images of the test part whose class is known, and what each row says of them."""

    target: np.ndarray  # (N,)
    group: np.ndarray | None  # (N,) whose image each is, where patients are known
    predicted: Mapping[str, np.ndarray]  # (N,) by `gridsearch`, row, and <row>_tta


@dataclass(frozen=True)
class Study:
    """The study's results."""

    profile: str
    source: str
    models: Mapping[str, str]  # the network of every row of the ladder, in its order
    ladder: Mapping[str, Mapping[str, Any]]  # by row: `from`, `base` or a row, and the settings that differ from that
    augment: Mapping[str, Any] | None  # settings of the augmentation of the study's last row, if there still is one
    features: Mapping[str, Mapping[str, str]]  # by set, `masks`: the segmentation that it is measured on
    images: Mapping[str, int]  # in the parts `train` and `test`, labelled or not
    classes: pd.DataFrame  # label, train, test: labelled images
    masks: Mapping[str, Mapping[str, float]]  # by segmentation method: Dice and IoU with true masks, share of failures
    true_masks: int  # images that come with one
    classical: Mapping[str, Mapping[str, float]]  # by <features>-<classifier>
    grid: Mapping[str, float]
    measured: Mapping[str, Mapping[str, float]]  # scores by row, with the best classifier of each feature set
    trained: Mapping[str, Mapping[str, float]]  # by row
    histories: Mapping[str, pd.DataFrame]  # by row, a line per epoch: epoch, train/loss, val/f1, …
    confusions: Mapping[str, pd.DataFrame]  # by classifier, row and <row>-test, a line per image: actual, predicted
    test: Predictions
    calibration: pd.DataFrame  # on the test part: row, probabilities (plain, with TTA), temperature, ece, …
    reliability: pd.DataFrame  # the same part's curves: row, probabilities, confidence, right, images

    def per_class(self, name: str) -> pd.DataFrame | None:
        """Scores of one of `confusions`, by class; None where there is none of that name."""
        if name not in self.confusions:
            return None
        actual, predicted = self.confusions[name].map(CLASSES.index).to_numpy().T
        columns = ["label", "precision", "recall", "f1", "images"]
        return pd.DataFrame(per_class(actual, predicted), columns=columns).set_index("label")

    @property
    def best(self) -> str:
        """The network with the best validation F1 without TTA."""
        return max(self.models, key=lambda row: self.measured[row]["val_f1"])


def read_study(settings: Mapping[str, Any]) -> Study:
    """Read `metrics/` and `plots/`; `settings` are those of configs/report.yaml."""
    rows = list(settings["models"])
    classical = {path.stem: _json(path) for path in sorted(METRICS.glob("classical/*.json"))}
    confusions = {path.stem: pd.read_csv(path) for path in sorted(PLOTS.glob("classical/*.csv"))}
    confusions["gridsearch"] = pd.read_csv(PLOTS / "gridsearch/confusion.csv")
    for row in rows:
        confusions[row] = pd.read_csv(PLOTS / f"predict/{row}/confusion.csv")
        confusions[f"{row}-test"] = pd.read_csv(PLOTS / f"predict/{row}/confusion_test.csv")
    grid = _json(METRICS / "gridsearch.json")
    histories = {row: _history(PLOTS / f"train/{row}/plots/metrics") for row in rows}
    measured = {row: _json(METRICS / f"predict/{row}.json") for row in rows} | {"gridsearch": grid}
    for row, history in histories.items():
        measured[row]["val_f1_last"] = float(history["val/f1"].tail(LAST).mean())
    for features in settings["features"]:
        measured[f"classical_{features}"] = {"val_f1": classical[best_classifier(classical, features)]["f1"]}
    manifest = read_manifest()
    return Study(
        **settings,
        images=_json(METRICS / "ingest.json"),
        classes=pd.read_csv(PLOTS / "classes.csv"),
        masks={path.stem: _json(path) for path in sorted(METRICS.glob("segment/*.json"))},
        true_masks=int((manifest["mask"] != "").sum()),
        classical=classical,
        grid=grid,
        measured=measured,
        trained={row: _json(METRICS / f"train/{row}.json") for row in rows},
        histories=histories,
        confusions=confusions,
        test=predictions(rows, manifest),
        calibration=_of_each(rows, "calibration"),
        reliability=_of_each(rows, "reliability"),
    )


def best_classifier(classical: Mapping[str, Mapping[str, float]], features: str) -> str:
    """<features>-<classifier> with the highest macro F1 over the folds, of those on one feature set."""
    return max((name for name in classical if name.startswith(f"{features}-")), key=lambda name: classical[name]["f1"])


def predictions(rows: Sequence[str], manifest: pd.DataFrame) -> Predictions:
    """Of the test part's labelled images, in the manifest's order whatever that of the files is."""
    labelled = manifest[(manifest["part"] == "test") & (manifest["label"] != "")]
    ids, group = labelled["id"], patients(manifest, labelled["id"]) if len(labelled) else None
    grid = pd.read_csv(DATA / "predictions/gridsearch.csv", dtype=str, keep_default_na=False).set_index("ID")["labels"]
    predicted = {"gridsearch": grid.map(CLASSES.index)}
    for row in rows:
        with np.load(DATA / f"predictions/{row}.npz") as stored:
            for way in ("", "_tta") if "test_ids" in stored else ():
                found = stored[f"test_probabilities{way}"].argmax(1)
                predicted[row + way] = pd.Series(found, stored["test_ids"])
    return Predictions(targets(labelled), group, {name: of.loc[ids].to_numpy() for name, of in predicted.items()})


def _of_each(rows: Sequence[str], name: str) -> pd.DataFrame:
    tables = {row: pd.read_csv(PLOTS / f"predict/{row}/{name}.csv") for row in rows}
    return pd.concat(tables, names=["row"]).reset_index("row").reset_index(drop=True)


def _json(path: Path) -> dict[str, float]:
    return json.loads(path.read_text(encoding="utf-8"))


def _history(folder: Path) -> pd.DataFrame:
    """DVCLive's files, one per value, as the columns of one table."""
    files = {f.relative_to(folder).with_suffix("").as_posix(): f for f in sorted(folder.rglob("*.tsv"))}
    values = {name: pd.read_csv(file, sep="\t", index_col="step").iloc[:, 0] for name, file in files.items()}
    return pd.DataFrame(values).rename_axis("epoch").reset_index()
