"""What the stages wrote, read back for the tables and figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wbc.classes import CLASSES
from wbc.config import BLEND, ENSEMBLE
from wbc.data.tables import read_manifest, targets
from wbc.evaluate.intervals import bounded, patients
from wbc.evaluate.scores import per_class

METRICS, PLOTS, DATA = Path("metrics"), Path("plots"), Path("data")
LAST = 5  # epochs whose mean validation F1 stands beside the best one's


class Said(NamedTuple):
    """What a model says of N images, in one repeat."""

    ids: np.ndarray  # (N,)
    target: np.ndarray  # (N,), -1 where unknown
    probabilities: np.ndarray  # (N, 13)


class Predictions(NamedTuple):
    """The N tested images whose class is known, and what each row says of them in R repeats.

    With `split.outer` a repeat is the pooled predictions of all the folds, each image's by those who did not see it.
    """

    target: np.ndarray  # (N,)
    group: np.ndarray | None  # (N,) whose image each is, where patients are known
    predicted: Mapping[str, np.ndarray]  # (R, N) by `gridsearch`, <features>-<classifier>, row, and <row>_tta


@dataclass(frozen=True)
class Study:
    """The study's results."""

    profile: str
    source: str | Sequence[str]  # `data.source`
    repeats: Sequence[int]  # figures of a single training are of the first
    outer: int  # folds that test every image once, 0: the source's test part
    models: Mapping[str, str]  # the network of every row of the ladder, in its order
    ladder: Mapping[str, Mapping[str, Any]]  # by row: `from`, `base` or a row, and the settings that differ from that
    augment: Mapping[str, Any] | None  # settings of the augmentation of the study's last row, if there still is one
    features: Mapping[str, Mapping[str, str]]  # by set, `masks`: the segmentation that it is measured on
    blend: Mapping[str, Any]  # `rows`, of each of which there is a mean with one of the `features`' `classifier`
    images: Mapping[str, int]  # in the parts `train` and `test`, labelled or not
    classes: pd.DataFrame  # label, train, test: labelled images
    masks: Mapping[str, Mapping[str, float]]  # by segmentation method: Dice and IoU with true masks, share of failures
    true_masks: int  # images that come with one
    classical: Mapping[str, Mapping[str, float]]  # by <features>-<classifier>
    grid: Mapping[str, float]
    measured: Mapping[str, Mapping[str, float]]  # scores by row, with the best classifier of each feature set
    trained: Mapping[str, Mapping[str, float]]  # by row, its first repeat
    histories: Mapping[str, pd.DataFrame]  # by row, of its first repeat, a line per epoch: epoch, train/loss, val/f1, …
    confusions: Mapping[str, pd.DataFrame]  # by classifier, row and <row>-test, a line per image: actual, predicted
    test: Predictions
    robust: Sequence[str]  # rows that were scored on corrupted test images too
    external: Sequence[str]  # sets of other laboratories' images, on which every row was scored too
    robustness: pd.DataFrame  # their row, corruption, severity (0: none) and f1, a mean over the repeats

    @property
    def first(self) -> int:
        """The repeat that figures of a single training show."""
        return self.repeats[0]

    @property
    def blends(self) -> dict[str, str]:
        """By name in the results, the row whose blend it is."""
        return {f"{row}{BLEND}": row for row in self.blend["rows"]}

    def per_class(self, name: str) -> pd.DataFrame | None:
        """Scores of one of `confusions`, by class; None where there is none of that name."""
        if name not in self.confusions:
            return None
        actual, predicted = self.confusions[name].map(CLASSES.index).to_numpy().T
        columns = ["label", "precision", "recall", "f1", "images"]
        return pd.DataFrame(per_class(actual, predicted), columns=columns).set_index("label")

    @property
    def best_classical(self) -> dict[str, str]:
        """By name in the results, classical_<features>, the best classifier on these: <features>-<classifier>."""
        return {f"classical_{features}": best_classifier(self.classical, features) for features in self.features}

    @property
    def best(self) -> str:
        """The network with the best validation F1 without TTA."""
        return max(self.models, key=lambda row: self.measured[row]["val_f1"])


def read_study(settings: Mapping[str, Any]) -> Study:
    """Read `metrics/` and `plots/`; `settings` are those of configs/report.yaml."""
    rows, repeats = list(settings["models"]), settings["repeats"]
    blends = [f"{row}{BLEND}" for row in settings["blend"]["rows"]]
    classical, confusions = {}, {}
    for features in settings["features"]:
        each = [_json(METRICS / f"classical/{features}-{r}.json") for r in repeats]
        for classifier in each[0]:
            name = f"{features}-{classifier}"
            classical[name] = _means([of_repeat[classifier] for of_repeat in each])
            confusions[name] = _all([PLOTS / f"classical/{features}-{r}/{classifier}.csv" for r in repeats])
    confusions["gridsearch"] = _all([PLOTS / f"gridsearch/{r}/confusion.csv" for r in repeats])
    for row in rows:
        confusions[row] = _all([PLOTS / f"predict/{row}-{r}/confusion.csv" for r in repeats])
        confusions[f"{row}-test"] = _all([PLOTS / f"predict/{row}-{r}/confusion_test.csv" for r in repeats])
    every = {row: [_history(PLOTS / f"train/{row}-{r}/plots/metrics") for r in repeats] for row in rows}
    manifest = read_manifest()
    test = predictions([*classical, "gridsearch", *rows, *blends], repeats, settings["outer"], manifest)
    scores = {"gridsearch": [_json(METRICS / f"gridsearch/{r}.json") for r in repeats]}
    scores |= {row: [_json(METRICS / f"predict/{row}-{r}.json") for r in repeats] for row in [*rows, *blends]}
    for row in rows:
        for values, history in zip(scores[row], every[row], strict=True):
            values["val_f1_last"] = float(history["val/f1"].tail(LAST).mean())
    measured = {}
    for row, each in scores.items():
        chosen = [{key: value for key, value in values.items() if key.startswith("val_")} for values in each]
        measured[row] = _means(chosen, spread=True) | of_test(row, test)
    for features in settings["features"]:
        best = best_classifier(classical, features)
        name = f"classical_{features}"
        if best in test.predicted:
            test.predicted[name] = test.predicted[best]
        measured[name] = {"val_f1": classical[best]["f1"]} | of_test(name, test)
    for row in test.predicted:
        if row.endswith(ENSEMBLE):
            measured[row] = of_test(row, test)
    return Study(
        **settings,
        images=_json(METRICS / "ingest.json"),
        classes=pd.read_csv(PLOTS / "classes.csv"),
        masks={path.stem: _json(path) for path in sorted(METRICS.glob("segment/*.json"))},
        true_masks=int((manifest["mask"] != "").sum()),
        classical=classical,
        grid=scores["gridsearch"][0],
        measured=measured,
        trained={row: _json(METRICS / f"train/{row}-{repeats[0]}.json") for row in rows},
        histories={row: histories[0] for row, histories in every.items()},
        confusions=confusions,
        test=test,
        robustness=_robustness(settings["robust"], repeats),
    )


def _robustness(rows: Sequence[str], repeats: Sequence[int]) -> pd.DataFrame:
    columns = ["row", "corruption", "severity", "f1"]
    found = [pd.read_csv(PLOTS / f"robustness/{row}-{r}.csv").assign(row=row) for row in rows for r in repeats]
    table = pd.concat(found or [pd.DataFrame(columns=columns)])
    return table.astype({"f1": float}).groupby(columns[:3], sort=False, as_index=False)["f1"].mean()


def best_classifier(classical: Mapping[str, Mapping[str, float]], features: str) -> str:
    """<features>-<classifier> with the highest macro F1 over the folds, of those on one feature set."""
    return max((name for name in classical if name.startswith(f"{features}-")), key=lambda name: classical[name]["f1"])


def predictions(names: Sequence[str], repeats: Sequence[int], outer: int, manifest: pd.DataFrame) -> Predictions:
    """What each row says of the labelled tested images, in the manifest's order whatever that of the files is.

    Where there are repeats, the mean of a network's probabilities over them is a row more, <row>_ensemble.
    """
    turns = pd.Series(repeats).groupby([r // outer if outer else r for r in repeats]).agg(list)
    known = manifest["label"] != "" if outer else (manifest["part"] == "test") & (manifest["label"] != "")
    labelled = manifest[known]
    ids, group = labelled["id"], patients(manifest, labelled["id"]) if len(labelled) else None
    predicted = {}
    for name in names:
        ways = {way: [_tested(name, turn, way) for turn in turns] for way in ("", "_tta")}
        ways = {way: parts for way, parts in ways.items() if all(part is not None for part in parts)}
        for way, parts in ways.items():
            probabilities = np.stack([part.loc[ids].to_numpy() for part in parts])
            predicted[name + way] = probabilities.argmax(2)
            if len(turns) > 1 and "_tta" in ways:  # only networks have one
                predicted[name + ENSEMBLE + way] = probabilities.mean(0, keepdims=True).argmax(2)
    return Predictions(targets(labelled), group, predicted)


def said(name: str, repeat: int, part: str, way: str = "") -> Said | None:
    """What `gridsearch`, <features>-<classifier>, a row or a blend says of a part; None where it says nothing.

    Args:
        name: whose predictions.
        repeat: which of its trainings.
        part: `test`, or `val`: the validation part or, of a classifier, each training image by the folds without it.
        way: `_tta`, or "" without it.
    """
    file, _, classifier = name.partition("-")
    part = "out_of_fold" if classifier and part == "val" else part
    key = f"{classifier}_{part}{way}" if classifier else f"{part}_probabilities{way}"
    with np.load(DATA / f"predictions/{file}-{repeat}.npz") as stored:
        if key not in stored:
            return None
        return Said(stored[f"{part}_ids"], stored[f"{part}_targets"], stored[key])


def _tested(name: str, repeats: Sequence[int], way: str) -> pd.DataFrame | None:
    """Probabilities of test images by id, of repeats that share them out; None where there are none of that kind."""
    parts = [said(name, repeat, "test", way) for repeat in repeats]
    if None in parts:
        return None
    table = pd.concat([pd.DataFrame(part.probabilities, part.ids) for part in parts])
    return table[~table.index.duplicated()]  # an unlabelled image is in every repeat's part


def of_test(name: str, test: Predictions) -> dict[str, float]:
    """Scores of the tested images with their intervals, plain and with TTA: `wbc.evaluate.intervals.bounded`."""
    found = {}
    for way in ("", "_tta"):
        if name + way in test.predicted:
            found |= bounded(test.target, test.predicted[name + way], test.group, way)
    return found


def _means(each: Sequence[Mapping[str, float]], spread: bool = False) -> dict[str, float]:
    """Means over the repeats by name, and if `spread` standard deviations, <name>_sd, where there are several."""
    values = pd.DataFrame(each)
    found = values.mean().to_dict()
    if spread and len(values) > 1:
        found |= values.std().add_suffix("_sd").to_dict()
    return found


def _all(paths: Sequence[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def _json(path: Path) -> dict[str, float]:
    return json.loads(path.read_text(encoding="utf-8"))


def _history(folder: Path) -> pd.DataFrame:
    """DVCLive's files, one per value, as the columns of one table."""
    files = {f.relative_to(folder).with_suffix("").as_posix(): f for f in sorted(folder.rglob("*.tsv"))}
    values = {name: pd.read_csv(file, sep="\t", index_col="step").iloc[:, 0] for name, file in files.items()}
    return pd.DataFrame(values).rename_axis("epoch").reset_index()
