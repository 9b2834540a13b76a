"""What models take of an image file. Without PyTorch, which would take each process that reads seconds to import."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbc.dataset.images import ImageError, decode
from wbc.dataset.pack import centre_crop, resize
from wbc.features import feature_set
from wbc.segment import failed, method


class ImageInputs(NamedTuple):
    """One image as a network and as a classical model take it, each of them None where no model needs it."""

    pixels: np.ndarray | None  # (size, size, 3) uint8, RGB
    features: np.ndarray | None  # (D,) float64
    bad_mask: bool = False  # whether the mask that was measured cannot be right


def read_inputs(file: Path, square: tuple[int, float] | None, measured: tuple[str, str] | None) -> ImageInputs | str:
    """Read one image file, as the stages that train read theirs; or why it cannot be read.

    Args:
        file: any common image format.
        square: pixels a side and `centre_crop` fraction of the image that a network takes.
        measured: the feature set and the masks that a classical model takes.
    """
    try:
        image = decode(file.read_bytes())
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"unreadable file: {error.strerror}"
    pixels = resize(centre_crop(image, square[1]), square[0]) if square else None
    if not measured:
        return ImageInputs(pixels, None)
    features, masks = measured
    mask = method(masks).segment(image)
    return ImageInputs(pixels, feature_set(features).extract(image, mask), failed(mask, method(masks).NUCLEUS))
