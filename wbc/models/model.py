"""One interface for every model: a network, a classical model, or a blend of both."""

import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from wbc.classical.model import Classical, load_classical
from wbc.config.schema import TTA
from wbc.core.classes import CLASSES
from wbc.core.errors import WeightsError
from wbc.core.io import write_zip
from wbc.features import SETS, feature_set
from wbc.network.model import NO_TTA, Network, load_model
from wbc.network.pixels import Pixels
from wbc.scoring.calibration import apply_temperature
from wbc.segment import METHODS

BLEND = "blend.json"  # in the file of a blend: the weight of each model by the name of its file


class InputSpec(NamedTuple):
    """How a model's inputs are made from an image; None for what it does not need."""

    pixels: tuple[int, float] | None  # side in pixels, and the central fraction of either image axis
    features: tuple[str, str] | None  # feature set and segmentation method


class Inputs(NamedTuple):
    """N images as models take them; None for what no model needs."""

    pixels: Pixels | None
    features: np.ndarray | None  # (N, D) float64


class Model(NamedTuple):
    """A network, a classical model, or the weighted mean of both."""

    network: Network | None = None
    classical: Classical | None = None
    weights: tuple[float, float] = (1.0, 1.0)  # of the two; their sum is 1 in a blend

    @property
    def input_spec(self) -> InputSpec:
        network, classical = self.network, self.classical
        pixels = (network.size, network.crop) if network else None
        return InputSpec(pixels, (classical.features, classical.masks) if classical else None)

    @property
    def unseen(self) -> frozenset[int]:
        """Classes that the classical model was not trained on; a network does not know its own."""
        return frozenset(range(len(CLASSES))) - {*self.classical.pipeline.classes_} if self.classical else frozenset()

    def probabilities(self, inputs: Inputs, tta: TTA = NO_TTA) -> np.ndarray:
        """(N, 13) float64 calibrated probabilities; only the network uses test-time augmentation."""
        total = 0.0
        if self.network:
            plain = self.network.probabilities(inputs.pixels, tta).numpy()
            total += self.weights[0] * apply_temperature(plain, self.network.temperature)
        if self.classical:
            total += self.weights[1] * self.classical.probabilities(inputs.features)
        return total

    def novelty(self, inputs: Inputs) -> np.ndarray | None:
        """(N,) float64, above 1 for images unlike the training images; None if the model cannot tell."""
        values = [self.network.novelty(inputs.pixels)] if self.network and self.network.reference else []
        values += [self.classical.novelty(inputs.features)] if self.classical else []
        return np.max(values, axis=0) if values else None


def save_blend(path: str | Path, network: Path, classical: Path, weights: tuple[float, float]) -> None:
    """Write the files of a network and a classical model, and their weights, into one zip file."""
    files = {f"{number}{file.suffix}": file.read_bytes() for number, file in enumerate((network, classical))}
    files[BLEND] = json.dumps(dict(zip(files, weights, strict=True))).encode()
    write_zip(path, ((name, lambda out, content=content: out.write(content)) for name, content in files.items()))


def load(path: str | Path) -> Model:
    """Load a model of any kind.

    Raises:
        WeightsError: the file is no model, or one that this version cannot use.
    """
    if not zipfile.is_zipfile(path):
        return Model(load_model(path))
    with zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
        if BLEND not in archive.namelist():
            return Model(classical=_load_classical(path))
        try:
            weights = json.loads(archive.read(BLEND))
            network, classical = (archive.extract(name, folder) for name in weights)
            return Model(load_model(network), _load_classical(classical), tuple(weights.values()))
        except WeightsError as error:
            raise WeightsError(str(error).replace(f"{folder}/", f"{path}: ")) from None
        except Exception as error:  # damaged content raises many kinds
            raise WeightsError(f"{path}: not a blend of models ({' '.join(str(error).split())[:200]})") from None


def _load_classical(path: str | Path) -> Classical:
    model = load_classical(path)
    known, count = model.features in SETS and model.masks in METHODS, model.pipeline.n_features_in_
    if not known or len(feature_set(model.features).NAMES) != count:
        what = f"{count} features of the set {model.features} on {model.masks} masks"
        raise WeightsError(f"{path}: takes {what}, which this version does not measure")
    return model
