"""A trained model as an ONNX file, for use without PyTorch."""

from pathlib import Path

import torch
from torch import nn

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic
from wbc.dataset.pack import HALF_UP
from wbc.models.model import Model
from wbc.network.model import Network


class Resize(nn.Module):
    """`centre_crop` and `resize` of `wbc.dataset.pack` in operations of ONNX: its own `Resize` rounds and aliases.

    A pixel of the result is the mean over a box of the image, its share but never narrower than one pixel: by area
    where an axis shrinks, bilinear where it grows. OpenCV's sums end in other bits, which the rounding may show: by one
    grey level, at some 2 of 100,000 values.
    """

    def __init__(self, size: int, crop: float = 1.0):
        super().__init__()
        self.size, self.crop = size, crop

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 → (N, size, size, 3) of whole numbers, float32."""
        rows, columns = self._shares(pixels.shape[1]), self._shares(pixels.shape[2])
        scaled = rows @ pixels.permute(0, 3, 1, 2).float() @ columns.T
        return (scaled + HALF_UP).floor().permute(0, 2, 3, 1)

    def _shares(self, length: int) -> torch.Tensor:
        """(size, length) float32: how much of each box every pixel of an axis fills."""
        start = torch.arange(length, dtype=torch.float64)
        whole = start[-1] + 1  # a tensor: the export would settle a branch on a number once and for all
        length = (whole * self.crop + 0.5).floor().clamp(min=1)
        skipped = ((whole - length) / 2).floor()
        box = (length / self.size).clamp(min=1)
        middle = (torch.arange(self.size, dtype=torch.float64) + 0.5) * length / self.size
        middle = middle.maximum(box / 2).minimum(length - box / 2)[:, None] + skipped
        overlap = (middle + box / 2).minimum(start + 1) - (middle - box / 2).maximum(start)
        return (overlap.clamp(min=0) / box).float()


class EndToEnd(nn.Module):
    """From pixels to calibrated probabilities: scaling, normalisation, network, softmax."""

    def __init__(self, trained: Network):
        super().__init__()
        self.resize, self.prepare, self.model = Resize(trained.size, trained.crop), trained.prepare(), trained.model
        self.temperature = trained.temperature

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB → (N, 13) float32 probabilities."""
        return (self.model(self.prepare(self.resize(pixels))) / self.temperature).softmax(1)


def export_onnx(model: Model, path: Path) -> None:
    """Write one ONNX file: input `pixels` (N, H, W, 3) uint8 RGB, output `probabilities` (N, 13) float32.

    N, H and W are free: the file scales images, and calibrates, as `classify` does. The classes, in the order of the
    output, stand in its metadata under `classes`.

    Raises:
        UserError: the model is no network alone.
    """
    if model.input_spec.features:
        raise UserError(
            "ONNX cannot segment the cells for a classical model; "
            "export the network's own file, runs/<row>-<repeat>/train/model.safetensors"
        )
    trained = model.network
    import onnx

    example = torch.zeros(2, trained.size + 1, trained.size + 2, 3, dtype=torch.uint8)
    with atomic(path) as temporary:
        program = torch.onnx.export(
            EndToEnd(trained).eval(),
            (example,),
            dynamo=True,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"pixels": {0: "N", 1: "H", 2: "W"}},
            verbose=False,
        )
        program.save(temporary, external_data=False)
        exported = onnx.load(temporary)
        exported.metadata_props.add(key="classes", value=",".join(CLASSES))
        onnx.save(exported, temporary)
