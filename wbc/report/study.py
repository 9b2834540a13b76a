"""Results of the stages, read for the tables and figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from wbc.config.files import BEST, STUDY
from wbc.core.classes import CLASSES
from wbc.core.tables import RUNS, check, read_manifest, read_split, targets
from wbc.scoring.calibration import apply_temperature, fit_temperature
from wbc.scoring.predictions import Predictions, read_predictions
from wbc.scoring.scores import confusion_matrix, macro_f1, per_class
from wbc.statistics import patients, scores_with_intervals

LAST = 5  # epochs whose mean validation F1 is reported beside the best one's
DIGITS = 4  # decimals of a network's temperature, as in its file
PARTS = ("validation", "test")  # of the study's own images
LAYOUT = {  # by kind of model: stage, and in the run's folder the predictions of `PARTS` and of external sets
    "classifier": ("classical", "classical/{}.npz", "external/{}.npz"),
    "gridsearch": ("gridsearch", "gridsearch/predictions.npz", "gridsearch_external/gridsearch.npz"),
    "network": ("predict", "predict/predictions.npz", "predict/predictions.npz"),
    "blend": ("blend", "predictions.npz", "predictions.npz"),
}


class Model(NamedTuple):
    """A model of the study, which every repeat trains anew."""

    name: str  # a row of the ladder, `best`, or <features>-<classifier>
    kind: Literal["classifier", "gridsearch", "network", "blend"]
    run: str  # its folder in runs/ without the repeat: a feature set, a row of the ladder or `best`
    classifier: str = ""

    def check(self, repeat: int, external: Sequence[str]) -> None:
        """Check that its predictions are of the present images.

        Raises:
            UserError: they are of other images or labels.
        """
        stage, own, other = LAYOUT[self.kind]
        target = repeat if stage in ("gridsearch", "blend") else f"{self.run}-{repeat}"
        folder = (RUNS / f"{self.run}-{repeat}/{own}").parent
        check(folder, f"{stage}@{target}", STUDY, *(external if own == other else ()))

    def predictions(self, repeat: int, part: str) -> Predictions | None:
        """Predictions of `validation`, `test` or an external set, None where it has none.

        Those of a classical model for `validation` are of all training images, each by the folds without it.
        """
        file = LAYOUT[self.kind][1 if part in PARTS else 2].format(self.classifier)
        path = RUNS / f"{self.run}-{repeat}/{file}"
        return read_predictions(path, part) if path.exists() else None

    def calibrated(self, repeat: int, part: str) -> Predictions | None:
        """The same with calibrated probabilities: a network's are stored without its temperature."""
        found = self.predictions(repeat, part)
        if found is None or self.kind != "network":
            return found
        validation = self.predictions(repeat, "validation")
        t = round(fit_temperature(validation.target, validation.probabilities), DIGITS)
        plain, tta = (apply_temperature(each, t) for each in (found.probabilities, found.tta))
        return found._replace(probabilities=plain, tta=tta)


class Tested(NamedTuple):
    """The N labelled test images and the predictions of every model in R repeats.

    With `split.outer` a repeat pools all folds: each image is predicted by the fold that it was held out of.
    """

    target: np.ndarray  # (N,)
    group: np.ndarray | None  # (N,) patients, where known
    predicted: Mapping[tuple[str, bool], np.ndarray]  # (R, N) by model and whether with test-time augmentation


@dataclass(frozen=True)
class Study:
    """Results of the study. The fields are the settings of the stage `report`."""

    profile: str
    source: str | Sequence[str]  # `data.source`
    repeats: Sequence[int]  # figures of a single training show the first
    outer: int  # number of folds that test every image once; 0: the source's test part
    networks: Mapping[str, str]  # timm's name of the network, by row of the ladder
    ladder: Mapping[str, Mapping[str, Any]]  # by row: `from`, and the settings that differ from that row's
    augment: Mapping[str, Any] | None  # augmentation of the report's last row, if it is in the study
    features: Mapping[str, str]  # segmentation method by feature set
    methods: Sequence[str]  # of segmentation
    blend: Mapping[str, Any]  # `made`, `row`, `features`
    robust: Sequence[str]  # rows scored on corrupted test images
    external: Sequence[str]  # external sets, on which every model is tested
    crop: float  # middle fraction of an image's sides that the networks see

    @cached_property
    def models(self) -> dict[str, Model]:
        """By name: the classifiers, the grid search, the networks and the blend."""
        found = [
            Model(f"{features}-{path.stem}", "classifier", features, path.stem)
            for features in self.features
            for path in sorted((RUNS / f"{features}-{self.first}/classical").glob("*.npz"))
        ]
        found.append(Model("v2-gridsearch", "gridsearch", "v2"))
        found += [Model(row, "network", row) for row in self.networks]
        found += [Model(BEST, "blend", BEST)] if self.blend["made"] else []
        return {model.name: model for model in found}

    def of_kind(self, *kinds: str) -> list[Model]:
        return [model for kind in kinds for model in self.models.values() if model.kind == kind]

    @property
    def first(self) -> int:
        return self.repeats[0]

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """The images, with the parts of the first repeat."""
        parts = np.where(read_split("folds", self.first) < 0, "test", "train")
        return read_manifest().assign(part=parts)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Number of labelled images, by class and part: train, test."""
        counts = self.manifest.groupby(["label", "part"]).size().unstack(fill_value=0)
        return counts.reindex(index=CLASSES, columns=["train", "test"], fill_value=0)

    @cached_property
    def folds(self) -> dict[str, dict[str, float]]:
        """By classifier: mean `f1` and `accuracy` over the folds and their `_sd`; of repeats, the means."""
        found = {}
        for model in self.of_kind("classifier"):
            files = [RUNS / f"{model.run}-{repeat}/classical/folds.csv" for repeat in self.repeats]
            each = [pd.read_csv(file, index_col="classifier").loc[[model.classifier]] for file in files]
            each = [table.mean().to_dict() | table.std().add_suffix("_sd").to_dict() for table in each]
            found[model.name] = pd.DataFrame(each).mean().to_dict()
        return found

    @cached_property
    def grid(self) -> dict[str, float]:
        """The grid search's choice in the first repeat."""
        return _json(RUNS / f"v2-{self.first}/gridsearch.json")

    @cached_property
    def histories(self) -> dict[str, pd.DataFrame]:
        """By row, a line per epoch of the first repeat: epoch, train/loss, val/f1 and so on."""
        return {row: _history(row, self.first) for row in self.networks}

    @cached_property
    def trained(self) -> dict[str, dict[str, float]]:
        """By row, `val_f1` and `best_epoch` of the first repeat."""
        return {row: _json(RUNS / f"{row}-{self.first}/train.json") for row in self.networks}

    @cached_property
    def confusions(self) -> dict[tuple[str, str], np.ndarray]:
        """(13, 13) confusion matrices by model and part, over the labelled images of all repeats; without TTA."""
        found = {}
        for model, part in product(self.models.values(), PARTS):
            each = [it for repeat in self.repeats if (it := model.predictions(repeat, part))]
            known = [(it.target[it.target >= 0], it.probabilities.argmax(1)[it.target >= 0]) for it in each]
            if sum(len(target) for target, _ in known):
                found[model.name, part] = sum(confusion_matrix(*pair) for pair in known)
        return found

    def per_class(self, name: str, part: str) -> pd.DataFrame | None:
        """Scores of each class from one of `confusions`; None where there is none."""
        return per_class(self.confusions[name, part]) if (name, part) in self.confusions else None

    @cached_property
    def test(self) -> Tested:
        """The test images in the manifest's order.

        With repeats, the mean of a model's probabilities over them is another model, <name>-ensemble. The best
        classifier of a feature set is there a second time, as <features>-classical.
        """
        turns = [[repeat] for repeat in self.repeats]
        if self.outer:
            turns = pd.Series(self.repeats).groupby([repeat // self.outer for repeat in self.repeats]).agg(list)
        known = (self.manifest["label"] != "") & ((self.manifest["part"] == "test") | bool(self.outer))
        labelled = self.manifest[known]
        ids, group = labelled["id"], patients(self.manifest, labelled["id"]) if len(labelled) else None
        predicted = {}
        for model, tta in product(self.models.values(), ("probabilities", "tta")):
            parts = [[model.predictions(repeat, "test") for repeat in turn] for turn in turns]
            if any(it is None or getattr(it, tta) is None for turn in parts for it in turn):
                continue
            tables = [pd.concat([pd.DataFrame(getattr(it, tta), it.ids) for it in turn]) for turn in parts]
            # With outer folds, an unlabelled image is in every test part
            probabilities = np.stack([t[~t.index.duplicated()].loc[ids].to_numpy() for t in tables])
            predicted[model.name, tta == "tta"] = probabilities.argmax(2)
            if len(turns) > 1 and model.kind in ("network", "blend"):
                predicted[f"{model.name}-ensemble", tta == "tta"] = probabilities.mean(0, keepdims=True).argmax(2)
        for name, best in self.best_classical.items():
            if (best, False) in predicted:
                predicted[name, False] = predicted[best, False]
        return Tested(targets(labelled), group, predicted)

    @cached_property
    def measured(self) -> dict[str, dict[str, float]]:
        """Scores of the grid search, the networks, the blend and the best classifier of each feature set."""
        each = [{"val_f1": _json(RUNS / f"v2-{repeat}/gridsearch.json")["val_f1"]} for repeat in self.repeats]
        found = {"v2-gridsearch": _means(each)}
        for model in self.of_kind("network", "blend"):
            found[model.name] = _means([_validated(model, repeat) for repeat in self.repeats])
        for name, best in self.best_classical.items():
            found[name] = {"val_f1": self.folds[best]["f1"]}
        ensembles = [name for name, tta in self.test.predicted if name.endswith("-ensemble") and not tta]
        return {name: found.get(name, {}) | self.scores(name) for name in [*found, *ensembles]}

    def scores(self, name: str) -> dict[str, float]:
        """A model's scores on the test images with their intervals, plain and with TTA."""
        found = {}
        for tta, suffix in ((False, ""), (True, "_tta")):
            if (name, tta) in self.test.predicted:
                predicted = self.test.predicted[name, tta]
                found |= scores_with_intervals(self.test.target, predicted, self.test.group, suffix)
        return found

    @cached_property
    def robustness(self) -> pd.DataFrame:
        """Scores on corrupted images: row, corruption, severity (0: none), f1; of repeats, the means."""
        columns = ["row", "corruption", "severity", "f1"]
        files = [(row, RUNS / f"{row}-{r}/robustness/scores.csv") for row in self.robust for r in self.repeats]
        table = pd.concat([pd.read_csv(file).assign(row=row) for row, file in files] or [pd.DataFrame(columns=columns)])
        return table.astype({"f1": float}).groupby(columns[:3], sort=False, as_index=False)["f1"].mean()

    @cached_property
    def best_classical(self) -> dict[str, str]:
        """By feature set, as <features>-classical, the name of its best classifier over the folds."""
        return {
            f"{features}-classical": max(
                (model.name for model in self.of_kind("classifier") if model.run == features),
                key=lambda name: self.folds[name]["f1"],
            )
            for features in self.features
        }

    @property
    def compared(self) -> dict[str, Model]:
        """The models of the results table by name: of a feature set's classifiers, the best one."""
        rest = {model.name: model for model in self.models.values() if model.kind != "classifier"}
        return {name: self.models[best] for name, best in self.best_classical.items()} | rest

    @property
    def best_network(self) -> str:
        """The row with the highest validation F1 without TTA."""
        return max(self.networks, key=lambda row: self.measured[row]["val_f1"])

    @property
    def winner(self) -> str:
        """The model with the highest validation F1 without TTA."""
        return max(self.measured, key=lambda name: self.measured[name].get("val_f1", 0.0))


def _validated(model: Model, repeat: int) -> dict[str, float]:
    part = model.predictions(repeat, "validation")
    f1, f1_tta = (macro_f1(part.target, each.argmax(1)) for each in (part.probabilities, part.tta))
    last = {"val_f1_last": _history(model.run, repeat)["val/f1"].tail(LAST).mean()} if model.kind == "network" else {}
    return {"val_f1": f1, "val_f1_tta": f1_tta, **last}


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the repeats, and with several repeats the standard deviations as `_sd`."""
    values = pd.DataFrame(each)
    return values.mean().to_dict() | (values.std().add_suffix("_sd").to_dict() if len(values) > 1 else {})


def _history(row: str, repeat: int) -> pd.DataFrame:
    return pd.read_csv(RUNS / f"{row}-{repeat}/train/history.csv")


def _json(path: Path) -> dict[str, float]:
    return json.loads(path.read_text(encoding="utf-8"))
