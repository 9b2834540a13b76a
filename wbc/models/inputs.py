"""The inputs of models, read from an image file. Without PyTorch, whose import takes a worker process seconds."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbc.dataset.images import ImageError, decode
from wbc.dataset.pack import centre_crop, resize
from wbc.features import feature_set
from wbc.segment import failed, method


class ImageInputs(NamedTuple):
    """One image as models take it; None for what no model needs."""

    pixels: np.ndarray | None  # (size, size, 3) uint8, RGB
    features: np.ndarray | None  # (D,) float64
    bad_mask: bool = False  # whether the mask behind the features cannot be right


def read_inputs(file: Path, pixels: tuple[int, float] | None, features: tuple[str, str] | None) -> ImageInputs | str:
    """Read an image file as the training stages do, for the fields of an `InputSpec`, or return what is wrong."""
    try:
        image = decode(file.read_bytes())
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"unreadable file: {error.strerror}"
    packed = resize(centre_crop(image, pixels[1]), pixels[0]) if pixels else None
    if not features:
        return ImageInputs(packed, None)
    segmentation = method(features[1])
    mask = segmentation.segment(image)
    return ImageInputs(packed, feature_set(features[0]).extract(image, mask), failed(mask, segmentation.NUCLEUS))
