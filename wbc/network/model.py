"""Networks: a timm backbone under the report's two-layer head, a trained one, and its file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from safetensors.torch import load_file
from torch import nn

from wbc.config.schema import TTA, Augment, Model
from wbc.core.classes import CLASSES
from wbc.core.errors import WeightsError
from wbc.core.io import atomic
from wbc.network.inference import infer
from wbc.network.pixels import Pixels
from wbc.network.prepare import Prepare
from wbc.network.reference import channel_means
from wbc.network.weights import PACKAGED, PACKAGED_NORMALISATION, load_pretrained
from wbc.scoring.novelty import Reference

NO_TTA = TTA(passes=0, temperature=1.0)  # no test-time augmentation
REPORT_TTA = TTA(passes=8, temperature=0.8)  # the report's (§7.5)
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Classifier(nn.Module):
    """Backbone → pooled embedding → Dropout → [Linear → activation → Dropout →] Linear (report §7.2.1 and eq. 3)."""

    def __init__(self, backbone: nn.Module, settings: Model):
        super().__init__()
        self.backbone = backbone
        width = backbone.head_hidden_size  # not num_features: some models widen it in their own head
        layers = [nn.Dropout(settings.dropout_in)]
        if settings.hidden:
            layers += [
                nn.Linear(width, settings.hidden),
                ACTIVATIONS[settings.activation](),
                nn.Dropout(settings.dropout),
            ]
            width = settings.hidden
        self.head = nn.Sequential(*layers, nn.Linear(width, len(CLASSES)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised images → (N, 13) logits."""
        return self.head(self.backbone(images))


def build(settings: Model, size: int | None = None) -> tuple[Classifier, dict[str, list[float]]]:
    """Build a classifier with its weights, and the normalisation of its images: `mean` and `std`, of values in 0…1.

    Position embeddings of transformers depend on the size of the images, in pixels; None is the architecture's own.

    Raises:
        WeightsError: its weights cannot be loaded.
    """
    name, options = settings.name, {"num_classes": 0}
    if size and timm.get_pretrained_cfg(name, allow_unregistered=False).fixed_input_size:
        options["img_size"] = size
    backbone = timm.create_model(name, **options)
    normalisation = {key: list(backbone.pretrained_cfg[key]) for key in ("mean", "std")}
    if settings.weights == "imagenet" and name in PACKAGED:
        normalisation = PACKAGED_NORMALISATION
    if settings.weights != "none":
        load_pretrained(backbone, name, settings.weights, options)
    return Classifier(backbone, settings), normalisation


@torch.no_grad()
def check_size(classifier: Classifier, name: str, size: int) -> None:
    """Raise a WeightsError if an architecture takes no images of that size, before a training fails."""
    try:
        classifier.eval()(torch.zeros(2, 3, size, size))
    except Exception as error:  # timm's models raise many kinds, some without a message
        own = classifier.backbone.pretrained_cfg["input_size"][-1]
        raise WeightsError(
            f"model.name = {name!r} takes no images of {size} pixels: set images.size = {own} or another model "
            f"({type(error).__name__}: {' '.join(str(error).split())[:60]})"
        ) from None
    classifier.train()


class Network(NamedTuple):
    """A trained classifier with everything that is needed to use it."""

    model: Classifier
    settings: dict[str, Any]  # of its row, resolved
    normalisation: dict[str, list[float]]  # `mean` and `std` per channel, of values in 0…1
    size: int  # side of its images in pixels
    reference: Reference | None  # None if it cannot recognise novel images
    crop: float = 1.0  # central fraction of either image axis that it sees
    temperature: float = 1.0  # calibrates its probabilities; the methods below do not apply it

    def probabilities(self, pixels: Pixels, tta: TTA = NO_TTA, plain: torch.Tensor | None = None) -> torch.Tensor:
        """(N, 13) float32 mean of softmax(logits / T) over one plain and R augmented passes (report, eq. 6).

        The augmentation is that of the training without the erasing. The device is that of the pixels. `plain` are the
        logits of the plain pass, where they are known.
        """
        torch.manual_seed(self.settings["seed"])
        augment = Augment(**self.settings["augment"] | {"erase": 0.0})
        logits = [infer(self.model, Prepare(self.normalisation), pixels) if plain is None else plain]
        logits += (infer(self.model, Prepare(self.normalisation, augment), pixels) for _ in range(tta.passes))
        return sum((each / tta.temperature).softmax(1) for each in logits) / len(logits)

    def outputs(self, pixels: Pixels) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, D) float32 pooled outputs of the backbone (the report's avgpool, §7.2.2) and (N, 13) logits."""

        def forward(images: torch.Tensor) -> torch.Tensor:
            embeddings = self.model.backbone(images)
            return torch.cat([embeddings, self.model.head(embeddings)], 1)

        both = infer(self.model, Prepare(self.normalisation), pixels, forward)
        return both[:, : -len(CLASSES)], both[:, -len(CLASSES) :]

    def novelty(self, pixels: Pixels) -> np.ndarray | None:
        """(N,) float64, above 1 for images unlike the training images; None without a reference."""
        if not self.reference:
            return None
        features = channel_means(self.model.backbone, self.normalisation, pixels, self.reference.layer)
        return self.reference.distance(features) / self.reference.threshold


def save_model(path: str | Path, network: Network) -> None:
    """Write a network as safetensors: the tensors of model and reference, and everything else as JSON in the header."""
    fields = ("settings", "normalisation", "size", "temperature", "crop")
    header = {"classes": CLASSES} | {name: getattr(network, name) for name in fields}
    tensors = {name: tensor.numpy(force=True) for name, tensor in network.model.state_dict().items()}
    if reference := network.reference:
        header |= {"threshold": reference.threshold, "layer": reference.layer}
        tensors |= {"reference.means": reference.means, "reference.precision": reference.precision}
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}  # safetensors ignores strides
    with atomic(path) as temporary:  # one entry of metadata: safetensors writes several in no fixed order
        temporary.write_bytes(save(tensors, metadata={"wbc": json.dumps(header)}))


def load_model(path: str | Path) -> Network:
    """Read what `save_model` wrote; the classifier is in evaluation mode and on the CPU.

    Raises:
        WeightsError: the file is missing, not a network of this project, of other classes or of another version.
    """
    try:
        with safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {})["wbc"])
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; dvc repro writes models to runs/<row>-<repeat>/train/") from None
    except KeyError:
        raise WeightsError(f"{path}: not a model of this project: weights without its description") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: not a model of this project ({error})") from None
    try:
        if tuple(header["classes"]) != CLASSES:
            raise WeightsError(f"{path}: trained for other classes: {', '.join(header['classes'])}")
        settings, tensors, reference = header["settings"], load_file(path), None
        Augment(**settings["augment"])
        model, _ = build(Model(**settings["model"] | {"weights": "none"}), header["size"])
        if "threshold" in header:
            means, precision = (tensors.pop(f"reference.{name}").numpy() for name in ("means", "precision"))
            reference = Reference(means, precision, header["threshold"], header["layer"])
        model.load_state_dict(tensors)
        rest = {name: header[name] for name in ("normalisation", "size", "crop", "temperature")}
        return Network(model.eval(), settings, reference=reference, **rest)
    except (KeyError, RuntimeError, ValueError) as error:  # PyTorch's of tensors, Pydantic's of settings
        raise WeightsError(f"{path}: this version cannot read it: {' '.join(str(error).split())[:200]}") from None
