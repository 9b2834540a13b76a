"""Heat maps of the pixels that speak for a class: LayerCAM (Jiang et al. 2021)."""

from collections.abc import Iterator

import cv2
import numpy as np
import pandas as pd
import torch

from wbc.core.errors import UserError
from wbc.network.model import Network
from wbc.network.pixels import Pixels
from wbc.network.prepare import Prepare

MAP = 7  # smallest side of the feature map that is used: what 224 pixels leave at the end of a usual network
BATCH = 32  # images at a time: their gradients need memory too
SIDE = 16  # side of the maps that are stored
MISTAKES = 60  # maps per class: the page shows fewer, and each takes as long as several predictions


def layer_cam_maps(network: Network, pixels: Pixels, index: np.ndarray, classes: np.ndarray) -> Iterator[np.ndarray]:
    """LayerCAM of (N,) int64 classes in the images of an (N,) int64 index, for the deepest map with a side of `MAP`.

    The last feature map, which Grad-CAM uses, is 2×2 for an image of 64 pixels and does not locate anything.

    Yields:
        For each image (size, size) float32 from 0 to 1, 0 everywhere if nothing speaks for the class.

    Raises:
        UserError: the backbone has no feature map.
    """
    from pytorch_grad_cam import LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    no_map = UserError(f"{network.settings['model']['name']}: has no feature map, so there is nothing to show")

    def check_map(output: torch.Tensor) -> torch.Tensor:
        # Some backbones return tokens, several maps, or channels last.
        if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[2] != output.shape[3]:
            raise no_map
        return output

    backbone = network.model.backbone
    large = [info for info in backbone.feature_info if network.size // info["reduction"] >= MAP]
    try:
        layer = backbone.get_submodule((large[-1] if large else backbone.feature_info[0])["module"])
    except AttributeError:  # timm's feature_info names modules that some models do not have
        raise no_map from None
    prepare = Prepare(network.normalisation).to(pixels.device)
    network.model.to(pixels.device).requires_grad_(False)  # gradients of weights would double the time
    with LayerCAM(network.model, [layer], check_map) as cam:
        for start in range(0, len(index), BATCH):
            chunk = slice(start, start + BATCH)
            (batch,) = pixels.batches([torch.from_numpy(index[chunk])])
            yield from cam(
                prepare(batch).requires_grad_(), [ClassifierOutputTarget(c) for c in classes[chunk].tolist()]
            )


def mistake_maps(
    network: Network, pixels: Pixels, targets: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """LayerCAM of wrong classes: from (N,) int64 targets (-1: unlabelled) and (N, 13) probabilities.

    Of each true class the `MISTAKES` most confident ones.

    Returns:
        (M,) int64 indices of the mistakes and (M, SIDE, SIDE) uint8 maps; both empty if the backbone has no feature map
    """
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero((targets >= 0) & (targets != predicted))
    order = pd.Series(targets[wrong], wrong).iloc[np.argsort(-probabilities.max(1)[wrong], kind="stable")]
    wrong = np.sort(order.groupby(order).head(MISTAKES).index)
    try:
        maps = layer_cam_maps(network, pixels, wrong, predicted[wrong])
        maps = [cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for each in maps]
    except UserError:
        wrong, maps = wrong[:0], []
    return wrong, np.round(255 * np.array(maps).reshape(-1, SIDE, SIDE)).astype(np.uint8)
