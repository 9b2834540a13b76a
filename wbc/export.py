"""A trained model as an ONNX file, for use without PyTorch."""

from pathlib import Path

import torch
from torch import nn

from wbc.classes import CLASSES
from wbc.io import atomic
from wbc.train.augment import Prepare
from wbc.train.model import Trained


class Whole(nn.Module):
    """From pixels to probabilities: normalisation, network, softmax."""

    def __init__(self, trained: Trained):
        super().__init__()
        self.prepare, self.model = Prepare(trained.normalisation), trained.model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB → (N, 13) float32 probabilities."""
        return self.model(self.prepare(pixels)).softmax(1)


def export_onnx(trained: Trained, path: Path) -> None:
    """Write one ONNX file: input `pixels` (N, size, size, 3) uint8 RGB, output `probabilities` (N, 13) float32.

    N is free. The classes, in the order of the output, stand in the file's metadata under `classes`.
    """
    import onnx

    example = torch.zeros(2, trained.size, trained.size, 3, dtype=torch.uint8)
    with atomic(path) as temporary:
        program = torch.onnx.export(
            Whole(trained).eval(),
            (example,),
            dynamo=True,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"pixels": {0: "N"}},
            verbose=False,
        )
        program.save(temporary, external_data=False)
        model = onnx.load(temporary)
        model.metadata_props.add(key="classes", value=",".join(CLASSES))
        onnx.save(model, temporary)
