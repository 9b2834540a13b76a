"""What the stages wrote, read back for the tables and figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from wbc.config.files import BEST, STUDY
from wbc.core.classes import CLASSES
from wbc.core.tables import MASKS, RUNS, check, read_manifest, targets
from wbc.scoring.calibration import scaled, temperature
from wbc.scoring.predictions import Predictions, read_predictions
from wbc.scoring.scores import accuracy, confusion, macro_f1, per_class
from wbc.statistics import bounded, patients

METRICS, PLOTS = Path("metrics"), Path("plots")
LAST = 5  # epochs whose mean validation F1 stands beside the best one's
DIGITS = 4  # of a network's temperature, as its file has it
HOME = ("validation", "test")  # parts of the study's own images


class Model(NamedTuple):
    """A model of the study, which every repeat trains anew."""

    name: str  # in tables; of a row of the ladder its own, which has no hyphen, of any other model one with a hyphen
    kind: Literal["classifier", "gridsearch", "network", "blend"]
    run: str  # its folder in runs/ without the repeat: a feature set or a row of the ladder
    classifier: str = ""

    def folder(self, repeat: int) -> Path:
        return RUNS / f"{self.run}-{repeat}"

    def check(self, repeat: int, external: Sequence[str]) -> None:
        """Compare what its predictions were made from with the images that are there.

        Raises:
            UserError: they are of other images or labels.
        """
        stage, sets = {
            "classifier": ("classical", ()), "gridsearch": ("gridsearch", ()), "network": ("predict", external),
            "blend": ("blend", external),
        }[self.kind]  # fmt: skip
        what = f"{repeat}" if stage in ("gridsearch", "blend") else f"{self.run}-{repeat}"
        folder = self.folder(repeat) / ("" if stage == "blend" else stage)
        check(folder, f"{stage}@{what}", STUDY, *sets)

    def predictions(self, repeat: int, part: str) -> Predictions | None:
        """Its predictions of `validation`, `test` or an external set; None where it has none.

        A classifier's of `validation` are of all training images, each by the folds without it.
        """
        file = {
            "classifier": f"{'classical' if part in HOME else 'external'}/{self.classifier}",
            "gridsearch": "gridsearch/predictions" if part in HOME else "gridsearch_external/gridsearch",
            "network": "predict/predictions",
            "blend": "predictions",
        }[self.kind]
        path = self.folder(repeat) / f"{file}.npz"
        return read_predictions(path, part) if path.exists() else None

    def calibrated(self, repeat: int, part: str) -> Predictions | None:
        """Its predictions with calibrated probabilities: a network's come without its temperature."""
        found = self.predictions(repeat, part)
        if found is None or self.kind != "network":
            return found
        validation = self.predictions(repeat, "validation")
        t = round(temperature(validation.target, validation.probabilities), DIGITS)
        return found._replace(probabilities=scaled(found.probabilities, t), tta=scaled(found.tta, t))


class Tested(NamedTuple):
    """The N labelled test images, and what each model predicts for them in R repeats.

    With `split.outer` a repeat is the pooled predictions of all the folds, each image's by those who did not see it.
    """

    target: np.ndarray  # (N,)
    group: np.ndarray | None  # (N,) whose image each is, where patients are known
    predicted: Mapping[tuple[str, bool], np.ndarray]  # (R, N) by model and whether with test-time augmentation


@dataclass(frozen=True)
class Study:
    """The study's results."""

    profile: str
    source: str | Sequence[str]  # `data.source`
    repeats: Sequence[int]  # figures of a single training are of the first
    outer: int  # folds that test every image once, 0: the source's test part
    networks: Mapping[str, str]  # timm's name of the network, by row of the ladder, in its order
    ladder: Mapping[str, Mapping[str, Any]]  # by row: `from`, `base` or a row, and the settings that differ from that
    augment: Mapping[str, Any] | None  # settings of the augmentation of the report's last row, if it was run
    features: Mapping[str, str]  # by feature set, the segmentation that it is measured on
    methods: Sequence[str]  # of segmentation
    blend: Mapping[str, Any]  # `made`; `row`, `features`, `classifier`: the network and the classical model in it
    robust: Sequence[str]  # rows that were scored on corrupted test images too
    external: Sequence[str]  # sets of other laboratories' images, on which every model was scored too
    crop: float  # middle part of an image's sides that was packed

    @cached_property
    def models(self) -> dict[str, Model]:
        """By name: the classifiers, the grid search, the rows of the ladder and the blend."""
        found = [
            Model(f"{features}-{path.stem}", "classifier", features, path.stem)
            for features in self.features
            for path in sorted((RUNS / f"{features}-{self.first}/classical").glob("*.npz"))
        ]
        found.append(Model("v2-gridsearch", "gridsearch", "v2"))
        found += [Model(row, "network", row) for row in self.networks]
        found += [Model(BEST, "blend", BEST)] if self.blend["made"] else []
        return {model.name: model for model in found}

    def of_kind(self, kind: str) -> list[Model]:
        return [model for model in self.models.values() if model.kind == kind]

    @property
    def first(self) -> int:
        """The repeat that figures of a single training show."""
        return self.repeats[0]

    @cached_property
    def manifest(self) -> pd.DataFrame:
        return read_manifest()

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Labelled images by label: train, test."""
        counts = self.manifest.groupby(["label", "part"]).size().unstack(fill_value=0)
        return counts.reindex(index=CLASSES, columns=["train", "test"], fill_value=0).fillna(0).astype(int)

    @cached_property
    def images(self) -> dict[str, int]:
        """In the parts `train` and `test`, labelled or not."""
        return self.manifest["part"].value_counts().reindex(["train", "test"], fill_value=0).to_dict()

    @cached_property
    def masks(self) -> pd.DataFrame:
        """By segmentation method: Dice and IoU with true masks, share of failures."""
        return pd.read_csv(MASKS / STUDY / "scores.csv", index_col="method")

    @cached_property
    def folds(self) -> dict[str, dict[str, float]]:
        """By classifier: `f1` and `accuracy` over the folds, and their `_sd`; of repeats the means."""
        found = {}
        for model in self.of_kind("classifier"):
            each = []
            for repeat in self.repeats:
                table = pd.read_csv(model.folder(repeat) / "classical/folds.csv", index_col="classifier")
                scores = table.loc[[model.classifier]]
                each.append(scores.mean().to_dict() | scores.std().add_suffix("_sd").to_dict())
            found[model.name] = _means(each)
        return found

    @cached_property
    def grid(self) -> dict[str, float]:
        """What the grid search chose in the first repeat."""
        return _json(self.models["v2-gridsearch"].folder(self.first) / "gridsearch.json")

    @cached_property
    def histories(self) -> dict[str, pd.DataFrame]:
        """By row, of its first repeat, a line per epoch: epoch, train/loss, val/f1 and so on."""
        return {row: self._history(row, self.first) for row in self.networks}

    def _history(self, row: str, repeat: int) -> pd.DataFrame:
        return pd.read_csv(RUNS / f"{row}-{repeat}/train/history.csv")

    @cached_property
    def trained(self) -> dict[str, dict[str, float]]:
        """By row, of its first repeat: `val_f1`, `best_epoch`."""
        return {row: _json(RUNS / f"{row}-{self.first}/train.json") for row in self.networks}

    @cached_property
    def confusions(self) -> dict[tuple[str, str], pd.DataFrame]:
        """By model and part, a line per labelled image of all repeats: actual, predicted. Without augmentation."""
        found = {}
        for model in self.models.values():
            for part in HOME:
                each = [it for repeat in self.repeats if (it := model.predictions(repeat, part))]
                pairs = [(it.target[it.target >= 0], it.probabilities.argmax(1)[it.target >= 0]) for it in each]
                if sum(len(target) for target, _ in pairs):
                    found[model.name, part] = pd.DataFrame(
                        confusion(*map(np.concatenate, zip(*pairs, strict=True))), columns=["actual", "predicted"]
                    )
        return found

    @cached_property
    def test(self) -> Tested:
        """The labelled test images, in the manifest's order whatever that of the files is.

        Where there are repeats, the mean of a model's probabilities over them is a model more, <name>-ensemble; and the
        best classifier of each feature set stands there a second time, as <features>-classical.
        """
        outer = self.outer
        turns = pd.Series(self.repeats).groupby([r // outer if outer else r for r in self.repeats]).agg(list)
        manifest = self.manifest
        known = (manifest["label"] != "") & ((manifest["part"] == "test") | bool(outer))
        labelled = manifest[known]
        ids, group = labelled["id"], patients(manifest, labelled["id"]) if len(labelled) else None
        predicted = {}
        for model in self.models.values():
            parts = [_tested(model, turn) for turn in turns]
            if None in parts:
                continue
            for tta in (False, True):
                tables = [table[tta] for table in parts]
                if tables[0] is None:
                    continue
                probabilities = np.stack([table.loc[ids].to_numpy() for table in tables])
                predicted[model.name, tta] = probabilities.argmax(2)
                if len(turns) > 1 and model.kind in ("network", "blend"):
                    mean = probabilities.mean(0, keepdims=True)
                    predicted[f"{model.name}-ensemble", tta] = mean.argmax(2)
        for features, best in self.best_classical.items():
            if (best, False) in predicted:
                predicted[features, False] = predicted[best, False]
        return Tested(targets(labelled), group, predicted)

    @cached_property
    def measured(self) -> dict[str, dict[str, float]]:
        """Scores by model: the grid search, the rows, the blend, and the best classifier of each feature set."""
        found = {"v2-gridsearch": _means([_json(RUNS / f"v2-{r}/gridsearch.json") for r in self.repeats], ("val_f1",))}
        for model in [*self.of_kind("network"), *self.of_kind("blend")]:
            each = [dict(self._validated(model, repeat)) for repeat in self.repeats]
            found[model.name] = _means(each, each[0])
        for name, best in self.best_classical.items():
            found[name] = {"val_f1": self.folds[best]["f1"]}
        ensembles = [name for name, tta in self.test.predicted if name.endswith("-ensemble") and not tta]
        for name in [*found, *ensembles]:
            found[name] = found.get(name, {}) | self.scores(name)
        return found

    def _validated(self, model: Model, repeat: int) -> Iterator[tuple[str, float]]:
        part = model.predictions(repeat, "validation")
        for way, probabilities in {"": part.probabilities, "_tta": part.tta}.items():
            for name, score in {"f1": macro_f1, "accuracy": accuracy}.items():
                yield f"val_{name}{way}", score(part.target, probabilities.argmax(1))
        if model.kind == "network":
            yield "val_f1_last", self._history(model.run, repeat)["val/f1"].tail(LAST).mean()

    def scores(self, name: str) -> dict[str, float]:
        """A model's scores on the tested images with their intervals, plain and with TTA."""
        found = {}
        for tta, way in ((False, ""), (True, "_tta")):
            if (name, tta) in self.test.predicted:
                found |= bounded(self.test.target, self.test.predicted[name, tta], self.test.group, way)
        return found

    @cached_property
    def robustness(self) -> pd.DataFrame:
        """Of the rows that were scored on corrupted images: row, corruption, severity (0: none), f1, over repeats."""
        columns = ["row", "corruption", "severity", "f1"]
        files = [(row, RUNS / f"{row}-{r}/robustness/scores.csv") for row in self.robust for r in self.repeats]
        table = pd.concat([pd.read_csv(file).assign(row=row) for row, file in files] or [pd.DataFrame(columns=columns)])
        return table.astype({"f1": float}).groupby(columns[:3], sort=False, as_index=False)["f1"].mean()

    def per_class(self, name: str, part: str) -> pd.DataFrame | None:
        """Scores of one of `confusions`, by class; None where there is none of that name."""
        if (name, part) not in self.confusions:
            return None
        actual, predicted = self.confusions[name, part].map(CLASSES.index).to_numpy().T
        columns = ["label", "precision", "recall", "f1", "images"]
        return pd.DataFrame(per_class(actual, predicted), columns=columns).set_index("label")

    @cached_property
    def best_classical(self) -> dict[str, str]:
        """By name in the results, <features>-classical, the best classifier of a feature set over the folds."""
        return {
            f"{features}-classical": max(
                (model.name for model in self.of_kind("classifier") if model.run == features),
                key=lambda name: self.folds[name]["f1"],
            )
            for features in self.features
        }

    @property
    def compared(self) -> dict[str, Model]:
        """By name in the results, the models that are compared: of a feature set's classifiers the best one."""
        rest = {model.name: model for model in self.models.values() if model.kind != "classifier"}
        return {name: self.models[best] for name, best in self.best_classical.items()} | rest

    @property
    def best(self) -> str:
        """The network with the best validation F1 without TTA."""
        return max(self.networks, key=lambda row: self.measured[row]["val_f1"])


def _tested(model: Model, repeats: Sequence[int]) -> dict[bool, pd.DataFrame | None] | None:
    """Probabilities of test images by id, without and with TTA, of repeats that share them out; None without any."""
    parts = [model.predictions(repeat, "test") for repeat in repeats]
    if None in parts:
        return None

    def joined(ways: Sequence[np.ndarray]) -> pd.DataFrame:
        table = pd.concat([pd.DataFrame(way, part.ids) for way, part in zip(ways, parts, strict=True)])
        return table[~table.index.duplicated()]  # an unlabelled image is in every repeat's part

    tta = [part.tta for part in parts]
    return {False: joined([part.probabilities for part in parts]), True: None if tta[0] is None else joined(tta)}


def _means(each: Sequence[Mapping[str, float]], keys: Sequence[str] = ()) -> dict[str, float]:
    """Means over the repeats by name; of `keys`, where given, and with the standard deviations of several repeats."""
    values = pd.DataFrame(each)
    if not keys:
        return values.mean().to_dict()
    found = values[list(keys)].mean().to_dict()
    return found | (values[list(keys)].std().add_suffix("_sd").to_dict() if len(values) > 1 else {})


def _json(path: Path) -> dict[str, float]:
    return json.loads(path.read_text(encoding="utf-8"))
