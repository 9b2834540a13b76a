"""One interface for every model: a network, a classical model, or a blend of both."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import numpy as np

from wbc.classical.model import Classical, load_classical
from wbc.config.schema import TTA
from wbc.core.classes import CLASSES
from wbc.core.io import write_zip
from wbc.core.modelfile import WeightsError
from wbc.features import SETS, feature_set
from wbc.network.model import NO_TTA, Network, load_model
from wbc.network.pixels import Pixels
from wbc.scoring.calibration import scaled
from wbc.segment import METHODS

BLEND = "blend.json"  # in the file of a blend: by file beside it, each model's fraction


class InputSpec(NamedTuple):
    """What a model takes of an image."""

    pixels: tuple[int, float] | None  # pixels a side, and the middle part of the image's sides
    features: tuple[str, str] | None  # feature set and masks


class Inputs(NamedTuple):
    """N images as models take them, None what no model needs."""

    pixels: Pixels | None
    features: np.ndarray | None  # (N, D) float64


class Model(Protocol):
    """What every model can do."""

    input_spec: InputSpec
    network: Network | None  # its network, where it has one
    unseen: frozenset[int]  # classes that it cannot name, as its training had none; a network's file does not say

    def probabilities(self, inputs: Inputs, tta: TTA = NO_TTA) -> np.ndarray:
        """(N, 13) float64 calibrated probabilities; `tta` is the network's."""

    def novelty(self, inputs: Inputs) -> np.ndarray | None:
        """(N,) float64, above 1 for images unlike the training's; None where the model cannot tell."""


@dataclass(frozen=True)
class NetworkModel:
    """A network as a `Model`."""

    network: Network
    unseen = frozenset()

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec((self.network.size, self.network.crop), None)

    def probabilities(self, inputs: Inputs, tta: TTA = NO_TTA) -> np.ndarray:
        return scaled(self.network.probabilities(inputs.pixels, tta).numpy(), self.network.temperature)

    def novelty(self, inputs: Inputs) -> np.ndarray | None:
        return self.network.novelty(inputs.pixels)


@dataclass(frozen=True)
class ClassicalModel:
    """A classical model as a `Model`."""

    classical: Classical
    network = None

    @property
    def unseen(self) -> frozenset[int]:
        return frozenset(range(len(CLASSES))) - {*self.classical.pipeline.classes_.tolist()}

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(None, (self.classical.features, self.classical.masks))

    def probabilities(self, inputs: Inputs, tta: TTA = NO_TTA) -> np.ndarray:
        return self.classical.probabilities(inputs.features)

    def novelty(self, inputs: Inputs) -> np.ndarray | None:
        return self.classical.novelty(inputs.features)


@dataclass(frozen=True)
class Blend:
    """The weighted mean of several models' probabilities."""

    parts: tuple[tuple[float, Model], ...]  # fractions, which add up to 1, and models

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(
            *(next(filter(None, of_each), None) for of_each in zip(*(m.input_spec for _, m in self.parts), strict=True))
        )

    @property
    def unseen(self) -> frozenset[int]:
        return frozenset().union(*(model.unseen for _, model in self.parts))

    @property
    def network(self) -> Network | None:
        return next((model.network for _, model in self.parts if model.network), None)

    def probabilities(self, inputs: Inputs, tta: TTA = NO_TTA) -> np.ndarray:
        return sum(fraction * model.probabilities(inputs, tta) for fraction, model in self.parts)

    def novelty(self, inputs: Inputs) -> np.ndarray | None:
        """Of the models that can tell, the largest."""
        each = [found for _, model in self.parts if (found := model.novelty(inputs)) is not None]
        return np.max(each, axis=0) if each else None


def save_blend(path: str | Path, parts: list[tuple[float, Path]]) -> None:
    """Write the files of several models, and the fraction of each, into one zip file."""
    files = {f"{place}{file.suffix}": (fraction, file) for place, (fraction, file) in enumerate(parts)}
    fractions = json.dumps({name: fraction for name, (fraction, _) in files.items()}).encode()
    entries = [(name, lambda out, file=file: out.write(file.read_bytes())) for name, (_, file) in files.items()]
    write_zip(path, [*entries, (BLEND, lambda out: out.write(fractions))])


def load(path: str | Path) -> Model:
    """The model in any file that this project writes: a network, a classical model or a blend.

    Raises:
        WeightsError: no model's file, or one that nothing here can use.
    """
    if not zipfile.is_zipfile(path):
        return NetworkModel(load_model(path))
    with zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
        if BLEND not in archive.namelist():
            return ClassicalModel(_measurable(path, load_classical(path)))
        try:
            fractions = json.loads(archive.read(BLEND))
            return Blend(tuple((f, load(archive.extract(name, folder))) for name, f in fractions.items()))
        except WeightsError as error:
            raise WeightsError(str(error).replace(f"{folder}/", f"{path}: ")) from None
        except Exception as error:  # damaged content raises many kinds
            raise WeightsError(f"{path}: not a blend of models ({' '.join(str(error).split())[:200]})") from None


def _measurable(path: str | Path, model: Classical) -> Classical:
    known = model.features in SETS and model.masks in METHODS
    wanted = model.pipeline.n_features_in_
    if not known or len(feature_set(model.features).NAMES) != wanted:
        words = f"{wanted} features of the set {model.features} on {model.masks} masks"
        raise WeightsError(f"{path}: takes {words}, which this version does not measure")
    return model
