"""A trained classifier on handcrafted features, calibrated, and its file."""

import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from wbc.classical.models import Validated, probabilities
from wbc.classical.table import Dataset
from wbc.core.classes import CLASSES
from wbc.core.io import write_zip
from wbc.core.modelfile import WeightsError
from wbc.scoring.calibration import scaled, temperature
from wbc.scoring.novelty import NOVELTY_QUANTILE, Reference, gaussians
from wbc.scoring.predictions import Predictions

# Types in our classifiers that skops does not trust by itself: compiled ones of scikit-learn, and our own
TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "wbc.classical.models.PairwiseSVC",
    "wbc.classical.models.SmoothedKNN",
]
SCHEMA = "schema.json"  # of a skops file


class Classical(NamedTuple):
    """A classifier on one feature set."""

    features: str  # one of `wbc.features.SETS`
    masks: str  # the segmentation it is measured on, one of `wbc.segment.METHODS`
    pipeline: Pipeline  # fitted; its classes are places in `CLASSES`
    temperature: float  # calibrates the pipeline's probabilities
    reference: Reference  # where the training's features lie

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, 13) float64 calibrated probabilities of (N, D) features, 0 for a class never shown."""
        return self.calibrated(probabilities(self.pipeline, features))

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, 13) float64 probabilities of the pipeline by the model's temperature."""
        found, shown = np.zeros_like(probabilities), self.pipeline.classes_
        found[:, shown] = scaled(probabilities[:, shown], self.temperature)
        return found

    def novelty(self, features: np.ndarray) -> np.ndarray:
        """(N,) float64, above 1 for cells unlike the training's."""
        return self.reference.distance(features) / self.reference.threshold


def calibrated(
    features: str, masks: str, found: Validated, train: Dataset, around: Reference
) -> tuple[Classical, np.ndarray]:
    """A cross-validated model with its temperature, and (N, 13) calibrated probabilities out of fold.

    LDA is overconfident, AdaBoost far from sure. The predicted classes stay as they are.
    """
    model = Classical(features, masks, found.model, temperature(train.target, found.out_of_fold), around)
    return model, model.calibrated(found.out_of_fold)


def predictions(model: Classical, out_of_fold: np.ndarray, train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """A model's predictions by part: of `validation`, all training images, each by the other folds' model."""
    probabilities, novelty = model.probabilities(test.features), model.novelty(test.features)
    return {
        "validation": Predictions(train.ids.astype(str), train.target, out_of_fold),
        "test": Predictions(test.ids.astype(str), test.target, probabilities, novelty=novelty),
    }


def reference(features: np.ndarray, target: np.ndarray, fold: np.ndarray) -> Reference:
    """Where the cells lie that a model learned from, and when a cell counts as unlike them.

    Each feature is measured in its own standard deviations, so that none outweighs others by its unit alone. The
    threshold is the distance from the cells of the other folds that a fraction `NOVELTY_QUANTILE` does not reach.

    Args:
        features: (N, D) float64.
        target: (N,) int64 classes.
        fold: (N,) int64.
    """
    scale = np.maximum(features.std(0), np.finfo(np.float32).tiny)

    def found(chosen: np.ndarray) -> Reference:
        means, precision = gaussians(features[chosen] / scale, target[chosen])
        return Reference(means * scale, precision / np.outer(scale, scale), 0.0)

    distances = [found(fold != held).distance(features[fold == held]) for held in np.unique(fold)]
    return found(fold == fold)._replace(threshold=float(np.quantile(np.concatenate(distances), NOVELTY_QUANTILE)))


def save_classical(path: str | Path, model: Classical) -> None:
    """Write a model in scikit-learn's safe format, skops, from which nothing is unpickled.

    skops numbers objects by their addresses in memory. Here they are numbered in their order, and nothing uninitialised
    is written, so that equal models are equal bytes.
    """
    import skops.io  # takes seconds: it imports all of scikit-learn

    content = {**model._asdict(), "reference": model.reference._asdict(), "classes": list(CLASSES)}
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(content))) as archive:
        schema = archive.read(SCHEMA).decode()
        numbers = {}
        for address in re.findall(r'"__id__": (\d+)', schema):
            numbers.setdefault(address, str(len(numbers)))

        def renumbered(text: str) -> str:
            return re.sub(r'("__id__": |"file": "|^)(\d+)', lambda m: m[1] + numbers.get(m[2], m[2]), text)

        files = {renumbered(name): _initialised(archive.read(name)) for name in archive.namelist() if name != SCHEMA}
        files[SCHEMA] = renumbered(schema).encode()
    write_zip(path, ((name, lambda file, name=name: file.write(files[name])) for name in sorted(files)))


def _initialised(content: bytes) -> bytes:
    """The file of an array, with zeros between the fields of records such as a tree's nodes."""
    array = np.load(io.BytesIO(content))
    if not array.dtype.names:
        return content
    clean, file = np.zeros(array.shape, array.dtype), io.BytesIO()  # zeros_like leaves what lies between
    for name in array.dtype.names:
        clean[name] = array[name]
    np.save(file, clean)
    return file.getvalue()


def load_classical(path: str | Path) -> Classical:
    """What `save_classical` wrote.

    Raises:
        WeightsError: missing, no such file, trained for other classes, or of another version of scikit-learn.
    """
    import skops.io

    try:
        content = skops.io.load(path, trusted=TRUSTED)
        classes = content.pop("classes")
        content["reference"] = Reference(**content["reference"])
        model = Classical(**content)
        if model.pipeline.n_features_in_ != model.reference.means.shape[1]:
            raise ValueError("its reference is of other features")
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except Exception as error:  # skops raises many kinds for a file that is not its own
        raise WeightsError(f"{path}: not a classical model ({' '.join(str(error).split())[:200]})") from None
    if tuple(classes) != CLASSES:
        raise WeightsError(f"{path}: trained for other classes: {', '.join(classes)}")
    return model
