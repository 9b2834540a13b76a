"""Classes of new images by a trained model, with what speaks against trusting them."""

import glob
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from wbc.config.schema import TTA
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.parallel import parallel_map
from wbc.dataset.images import SUFFIXES
from wbc.dataset.listing import ImageFolder, is_image
from wbc.dataset.pack import centre_crop, resize
from wbc.models.inputs import ImageInputs, read_inputs
from wbc.models.model import Inputs, Model
from wbc.network.explain import layer_cam_maps
from wbc.network.inference import BATCH
from wbc.network.model import NO_TTA, Network
from wbc.network.pixels import Pixels

HEAT = 0.4  # how much of an overlay is colour


class Classified(NamedTuple):
    """What the model says of one image; empty but for `note` where the file cannot be read."""

    image: str
    label: str = ""
    probability: float | None = None
    runner_up: str = ""
    runner_up_probability: float | None = None
    note: str = ""


def find(patterns: Sequence[str]) -> list[Path]:
    """The image files that folders (with all below them but hidden ones), files and patterns name, each once, sorted.

    In a folder, what looks like an image counts, whatever its suffix: what cannot be read is said of each.

    Raises:
        UserError: a pattern names nothing.
    """
    found = set()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            folder = ImageFolder(path)
            files = {*folder.paths, *folder.unread}
        else:
            names = [path] if path.exists() else map(Path, glob.glob(pattern))
            files = {name for name in names if name.is_file() and (name == path or is_image(name))}
        if not files:
            raise UserError(f"{pattern}: no image; expected a file, a folder or a pattern of {', '.join(SUFFIXES)}")
        found |= files
    return sorted(found)


def classify(model: Model, files: Sequence[Path], device: torch.device, tta: TTA = NO_TTA) -> Iterator[Classified]:
    """Classify image files, in their order, `BATCH` at a time. Probabilities are calibrated by the model's temperature.

    An image is called unusual where it lies farther from the training images than 99 of 100 that were held out
    (`wbc.scoring.novelty`): its class is then a guess, whatever its probability. So it is, for a classical model,
    where the mask cannot be right (`wbc.segment.failed`).

    Args:
        model: as `wbc.models.model.load` gives it.
        files: any common image format.
        device: the network's.
        tta: test-time augmentation, the network's.
    """
    tasks = ((file, *model.input_spec) for file in files)
    read = parallel_map(read_inputs, tasks, len(files), "classify", threads=not model.input_spec.features)
    pairs = zip(files, read, strict=True)
    while some := list(islice(pairs, BATCH)):
        images = [each for _, each in some if isinstance(each, ImageInputs)]
        lines = iter(_lines(model, images, device, tta) if images else ())
        for file, each in some:
            if isinstance(each, ImageInputs):
                yield Classified(str(file), *next(lines))
            else:
                yield Classified(str(file), note=each)


def _lines(model: Model, images: Sequence[ImageInputs], device: torch.device, tta: TTA) -> Iterator[tuple]:
    """Of each of the images, at least one, what `Classified` has beside its name."""
    pixels = features = None
    if model.input_spec.pixels:
        pixels = Pixels(np.stack([each.pixels for each in images]), np.arange(len(images)), device)
    if model.input_spec.features:
        features = np.stack([each.features for each in images])
    inputs = Inputs(pixels, features)
    notes = [["no whole cell found"] if each.bad_mask else [] for each in images]
    if (novelty := model.novelty(inputs)) is not None:
        for note, value in zip(notes, novelty, strict=True):
            if value > 1:
                note.insert(0, f"unlike the training images ({value:.2g}× as far as 99 of 100)")
    likeliest = torch.from_numpy(model.probabilities(inputs, tta)).topk(2)
    for (first, second), (best, other), note in zip(*(values.tolist() for values in likeliest), notes, strict=True):
        yield CLASSES[best], first, CLASSES[other], second, "; ".join(note)


def layer_cam(trained: Network, image: np.ndarray, label: str) -> np.ndarray:
    """An image under a heat map of the evidence for a class.

    Args:
        trained: as for `layer_cam_maps`, on any device.
        image: (H, W, 3) uint8, RGB.
        label: one of `CLASSES`.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UserError: the backbone has no feature map.
    """
    seen = centre_crop(image, trained.crop)
    pixels = Pixels(resize(seen, trained.size)[None], np.arange(1), torch.device("cpu"))
    (heat,) = layer_cam_maps(trained, pixels, np.arange(1), np.array([CLASSES.index(label)]))
    whole = np.zeros(image.shape[:2], np.float32)  # cold where the model does not look
    centre_crop(whole, trained.crop)[:] = cv2.resize(heat, seen.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    colours = cv2.applyColorMap(np.uint8(255 * whole.clip(0, 1)), cv2.COLORMAP_TURBO)[..., ::-1]
    return cv2.addWeighted(image, 1 - HEAT, colours, HEAT, 0)
