"""Export a trained network as an ONNX file, for use without PyTorch."""

from argparse import Namespace
from pathlib import Path

import torch
from torch import nn

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic, check_writable
from wbc.dataset.pack import HALF_UP
from wbc.models.model import Model, load
from wbc.network.model import Network
from wbc.network.prepare import Prepare


def run(options: Namespace) -> None:
    out = options.out or options.model.with_suffix(".onnx")
    check_writable(out)
    export_onnx(load(options.model), out)
    print(out)


def resize(pixels: torch.Tensor, size: int, crop: float) -> torch.Tensor:
    """(N, H, W, 3) uint8 → (N, size, size, 3) float32 of whole numbers, as `wbc.dataset.pack` crops and resizes."""
    # ONNX's own `Resize` aliases. About 2 of 100,000 values differ from OpenCV's by one grey level.

    def weights(length: int) -> torch.Tensor:  # (size, length), of each pixel of an axis in each box
        start = torch.arange(length, dtype=torch.float64)
        whole = start[-1] + 1  # a tensor: a number would be a constant in the exported file
        length = (whole * crop + 0.5).floor().clamp(min=1)
        skipped = ((whole - length) / 2).floor()
        box = (length / size).clamp(min=1)
        middle = (torch.arange(size, dtype=torch.float64) + 0.5) * length / size
        middle = middle.maximum(box / 2).minimum(length - box / 2)[:, None] + skipped
        overlap = (middle + box / 2).minimum(start + 1) - (middle - box / 2).maximum(start)
        return (overlap.clamp(min=0) / box).float()

    scaled = weights(pixels.shape[1]) @ pixels.permute(0, 3, 1, 2).float() @ weights(pixels.shape[2]).T
    return (scaled + HALF_UP).floor().permute(0, 2, 3, 1)


class EndToEnd(nn.Module):
    """A network from (N, H, W, 3) uint8 RGB images to (N, 13) float32 calibrated probabilities."""

    def __init__(self, network: Network):
        super().__init__()
        self.prepare, self.model = Prepare(network.normalisation), network.model
        self.size, self.crop, self.temperature = network.size, network.crop, network.temperature

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self.model(self.prepare(resize(pixels, self.size, self.crop))) / self.temperature).softmax(1)


def export_onnx(model: Model, path: Path) -> None:
    """Write `EndToEnd`: input `pixels`, output `probabilities`, whose columns the metadata `classes` name.

    Raises:
        UserError: the model is not a network.
    """
    if model.input_spec.features:
        raise UserError("ONNX cannot segment cells; export a network, runs/<row>-<repeat>/train/model.safetensors")
    example = torch.zeros(2, model.network.size + 1, model.network.size + 2, 3, dtype=torch.uint8)
    names = {"input_names": ["pixels"], "output_names": ["probabilities"]}
    options = {"dynamo": True, "dynamic_shapes": {"pixels": {0: "N", 1: "H", 2: "W"}}, "verbose": False}
    program = torch.onnx.export(EndToEnd(model.network).eval(), (example,), **names, **options)
    program.model.metadata_props["classes"] = ",".join(CLASSES)
    with atomic(path) as temporary:
        program.save(temporary, external_data=False)
