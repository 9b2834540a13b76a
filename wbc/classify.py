"""Classes of new images by a trained model, with what speaks against trusting them."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from wbc.classes import CLASSES
from wbc.config import TTA
from wbc.data.images import SUFFIXES, ImageError, decode
from wbc.data.pack import resize
from wbc.errors import UserError
from wbc.train.data import Pixels
from wbc.train.inference import BATCH
from wbc.train.model import PLAIN, Trained

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
    """The image files that folders (with all below them), files and glob patterns name, each once, sorted.

    Raises:
        UserError: a pattern names nothing.
    """
    found = set()
    for pattern in patterns:
        path = Path(pattern)
        names = path.rglob("*") if path.is_dir() else [path] if path.exists() else map(Path, glob.glob(pattern))
        files = {name for name in names if name.is_file() and (name == path or name.suffix.lower() in SUFFIXES)}
        if not files:
            raise UserError(f"{pattern}: no image; expected a file, a folder or a pattern of {', '.join(SUFFIXES)}")
        found |= files
    return sorted(found)


def classify(trained: Trained, files: Sequence[Path], where: torch.device, tta: TTA = PLAIN) -> Iterator[Classified]:
    """Classify image files, in their order, `BATCH` at a time.

    An image is called unusual where its embedding lies farther from every class's mean than 99 of 100 validation images
    (`wbc.train.reference`): its class is then a guess, whatever its probability.

    Args:
        trained: the model.
        files: any common image format.
        where: the device to use.
        tta: test-time augmentation.
    """
    for start in tqdm(range(0, len(files), BATCH), "classify", unit="batch", disable=None):
        some = files[start : start + BATCH]
        images, problems = read_all(some, trained.size)
        if not len(images):
            yield from (Classified(str(file), note=problems[file]) for file in some)
            continue
        pixels = Pixels(images, np.arange(len(images)), where)
        distances = trained.reference.distance(trained.embeddings(pixels))
        likeliest = trained.probabilities(pixels, tta).topk(2)
        rows = zip(*(values.tolist() for values in likeliest), distances.tolist(), strict=True)
        for file in some:
            if file in problems:
                yield Classified(str(file), note=problems[file])
                continue
            (first, second), (best, other), distance = next(rows)
            unusual = distance > trained.reference.threshold
            note = f"unlike the training images ({distance:.1f} > {trained.reference.threshold:.1f})" if unusual else ""
            yield Classified(str(file), CLASSES[best], first, CLASSES[other], second, note)


def read_all(files: Sequence[Path], size: int) -> tuple[np.ndarray, dict[Path, str]]:
    """(N, size, size, 3) uint8 RGB of the readable files, and why the others are not."""
    images, problems = [], {}
    for file in files:
        try:
            images.append(resize(decode(file.read_bytes()), size))
        except ImageError as error:
            problems[file] = str(error)
        except OSError as error:
            problems[file] = f"unreadable file: {error.strerror}"
    return np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8), problems


def grad_cam(trained: Trained, image: np.ndarray, label: str) -> np.ndarray:
    """Where in an image the evidence for a class lies: Grad-CAM (Selvaraju et al. 2017) of the last feature map.

    Args:
        trained: a model whose backbone ends in a feature map, on any device.
        image: (H, W, 3) uint8, RGB.
        label: one of `CLASSES`.

    Returns:
        (H, W, 3) uint8, RGB: the image under a heat map, which is cold all over where nothing speaks for the class.

    Raises:
        UserError: the backbone has no feature map.
    """
    model = trained.model.eval()
    where = next(model.parameters()).device
    prepare = trained.prepare().to(where)
    pixels = torch.from_numpy(resize(image, trained.size)[None]).to(where)
    with torch.no_grad():
        features = model.backbone.forward_features(prepare(pixels))
    if features.ndim != 4:
        raise UserError(f"{trained.settings['model']['name']}: ends in no feature map, so there is nothing to show")
    logits = model.head(model.backbone.forward_head(features.requires_grad_(), pre_logits=True))
    (gradient,) = torch.autograd.grad(logits[0, CLASSES.index(label)], features)
    heat = (gradient.mean((2, 3), keepdim=True) * features).sum(1)[0].relu().detach().cpu().numpy()
    heat = cv2.resize(heat / max(heat.max(), 1e-12), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    colours = cv2.applyColorMap(np.uint8(255 * heat.clip(0, 1)), cv2.COLORMAP_TURBO)[..., ::-1]
    return cv2.addWeighted(image, 1 - HEAT, colours, HEAT, 0)
