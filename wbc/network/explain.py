"""Where in an image the evidence for a class lies: LayerCAM (Jiang et al. 2021)."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from wbc.core.errors import UserError
from wbc.network.model import Network
from wbc.network.pixels import Pixels

MAP = 7  # pixels a side of the coarsest feature map that explains: what 224 pixels leave of a usual network
BATCH = 32  # images at a time: their gradients take memory too
SIDE = 16  # pixels a side of the maps that are kept


def layer_cam_maps(trained: Network, pixels: Pixels, index: np.ndarray, classes: np.ndarray) -> Iterator[np.ndarray]:
    """Maps of the evidence, of the deepest feature map that is at least `MAP` pixels a side.

    The last one, Grad-CAM's, is 2×2 for an image of 64 pixels and says nothing of where; of an earlier one LayerCAM,
    which weights each place by itself, says more.

    Args:
        trained: a model whose backbone has such maps.
        pixels: images as the network takes them.
        index: (N,) int64, which of them.
        classes: (N,) int64, the class to look for in each.

    Yields:
        Of each image (size, size) float32 from 0 to 1, cold all over where nothing speaks for the class.

    Raises:
        UserError: the backbone has no feature map.
    """
    from pytorch_grad_cam import LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    name, backbone = trained.settings["model"]["name"], trained.model.backbone
    none = UserError(f"{name}: has no feature map, so there is nothing to show")

    def as_map(output: torch.Tensor) -> torch.Tensor:
        # a transformer's tokens, several maps, or channels last
        if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[2] != output.shape[3]:
            raise none
        return output

    large = [info for info in backbone.feature_info if trained.size // info["reduction"] >= MAP]
    try:
        layer = backbone.get_submodule((large[-1] if large else backbone.feature_info[0])["module"])
    except AttributeError:  # timm names a module that some models do not have
        raise none from None
    prepare = trained.prepare().to(pixels.device)
    with LayerCAM(trained.model, [layer], as_map) as cam:
        for first in range(0, len(index), BATCH):
            some = slice(first, first + BATCH)
            (batch,) = pixels.batches([torch.from_numpy(index[some])])
            yield from cam(prepare(batch).requires_grad_(), [ClassifierOutputTarget(c) for c in classes[some].tolist()])


def mistake_maps(
    trained: Network, pixels: Pixels, targets: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What misled a network: (M,) int64 places of the mistakes and (M, SIDE, SIDE) uint8 maps for the classes it named.

    Both are empty where its backbone has no feature map.

    Args:
        trained: on the device of the pixels.
        pixels: N images.
        targets: (N,) int64, -1 where unknown.
        predicted: (N,) int64.
    """
    wrong = np.flatnonzero((targets >= 0) & (targets != predicted))
    try:
        heats = [
            cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for heat in layer_cam_maps(trained, pixels, wrong, predicted[wrong])
        ]
    except UserError:
        wrong, heats = wrong[:0], []
    return wrong, np.round(255 * np.array(heats).reshape(-1, SIDE, SIDE)).astype(np.uint8)
