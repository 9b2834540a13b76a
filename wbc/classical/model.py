"""A calibrated classifier on handcrafted features, and its file."""

import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from wbc.classical.models import CrossValidation, probabilities
from wbc.classical.table import Dataset
from wbc.core.classes import CLASSES
from wbc.core.errors import WeightsError
from wbc.core.io import write_zip
from wbc.scoring.calibration import apply_temperature, fit_temperature
from wbc.scoring.novelty import NOVELTY_QUANTILE, Reference, gaussians
from wbc.scoring.predictions import Predictions

# Types in our classifiers that skops does not trust by default: compiled types of scikit-learn, and our own
TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "wbc.classical.models.PairwiseSVC",
    "wbc.classical.models.SmoothedKNN",
]
SCHEMA = "schema.json"  # in a skops file


class Classical(NamedTuple):
    """A classifier on one feature set."""

    features: str  # one of `wbc.features.SETS`
    masks: str  # segmentation method of the features' masks, one of `wbc.segment.METHODS`
    pipeline: Pipeline  # fitted; its classes are indices into `CLASSES`
    temperature: float  # calibrates the probabilities of the pipeline
    reference: Reference  # of the training features

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, 13) float64 calibrated probabilities of (N, D) features, 0 for classes not in the training."""
        return self.calibrate(probabilities(self.pipeline, features))

    def calibrate(self, probabilities: np.ndarray) -> np.ndarray:
        """Apply the temperature to (N, 13) probabilities of the pipeline."""
        found, classes = np.zeros_like(probabilities), self.pipeline.classes_
        found[:, classes] = apply_temperature(probabilities[:, classes], self.temperature)
        return found

    def novelty(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64 novelty of (N, D) features, above 1 for cells unlike the training's."""
        return self.reference.distance(features) / self.reference.threshold


def calibrate(
    features: str, masks: str, result: CrossValidation, train: Dataset, test: Dataset, reference: Reference
) -> tuple[Classical, dict[str, Predictions]]:
    """Fit the temperature of a cross-validated model (LDA is overconfident, AdaBoost underconfident), and predict.

    Returns:
        The model, and its calibrated predictions of the parts: `validation` holds all training images, out of fold.
    """
    model = Classical(features, masks, result.model, fit_temperature(train.target, result.out_of_fold), reference)
    found, novelty = model.probabilities(test.features), model.novelty(test.features)
    return model, {
        "validation": Predictions(train.ids.astype(str), train.target, model.calibrate(result.out_of_fold)),
        "test": Predictions(test.ids.astype(str), test.target, found, novelty=novelty),
    }


def fit_reference(features: np.ndarray, target: np.ndarray, fold: np.ndarray) -> Reference:
    """Fit the reference for novelty to (N, D) float64 features, (N,) int64 classes and (N,) int64 folds.

    Features are divided by their standard deviations before the covariance is shrunk, so that units do not matter. The
    threshold is the `NOVELTY_QUANTILE` of the distances of held-out cells from those of the other folds.
    """
    scale = np.maximum(features.std(0), np.finfo(np.float32).tiny)

    def fit(chosen: np.ndarray) -> Reference:
        means, precision = gaussians(features[chosen] / scale, target[chosen])
        return Reference(means * scale, precision / np.outer(scale, scale), 0.0)

    distances = [fit(fold != held).distance(features[fold == held]) for held in np.unique(fold)]
    return fit(fold == fold)._replace(threshold=float(np.quantile(np.concatenate(distances), NOVELTY_QUANTILE)))


def save_classical(path: str | Path, model: Classical) -> None:
    """Write a model as a skops file, scikit-learn's format that is read without unpickling.

    Equal models give equal bytes: objects are numbered in their order instead of by memory address, and padding is 0.
    """
    import skops.io  # takes seconds: it imports all of scikit-learn

    content = {**model._asdict(), "reference": model.reference._asdict(), "classes": list(CLASSES)}
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(content))) as archive:
        schema = archive.read(SCHEMA).decode()
        addresses = dict.fromkeys(re.findall(r'"__id__": (\d+)', schema))
        numbers = {address: str(number) for number, address in enumerate(addresses)}

        def renumber(text: str) -> str:
            return re.sub(r'("__id__": |"file": "|^)(\d+)', lambda m: m[1] + numbers.get(m[2], m[2]), text)

        files = {renumber(name): _clear_padding(archive.read(name)) for name in archive.namelist() if name != SCHEMA}
        files[SCHEMA] = renumber(schema).encode()
    write_zip(path, ((name, lambda file, name=name: file.write(files[name])) for name in sorted(files)))


def _clear_padding(content: bytes) -> bytes:
    """The file of an array, with zeros between the fields of records such as the nodes of a tree."""
    array = np.load(io.BytesIO(content))
    if not array.dtype.names:
        return content
    clean, file = np.zeros(array.shape, array.dtype), io.BytesIO()  # zeros_like would not clear the padding
    for name in array.dtype.names:
        clean[name] = array[name]
    np.save(file, clean)
    return file.getvalue()


def load_classical(path: str | Path) -> Classical:
    """Read a model that `save_classical` wrote.

    Raises:
        WeightsError: no such file, damaged, trained for other classes, or written by another version of scikit-learn.
    """
    import skops.io

    try:
        content = skops.io.load(path, trusted=TRUSTED)
        classes = content.pop("classes")
        content["reference"] = Reference(**content["reference"])
        model = Classical(**content)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except Exception as error:  # skops raises many kinds for a file that is not its own
        raise WeightsError(f"{path}: not a classical model ({' '.join(str(error).split())[:200]})") from None
    if tuple(classes) != CLASSES:
        raise WeightsError(f"{path}: trained for other classes: {', '.join(classes)}")
    return model
