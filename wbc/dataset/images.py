"""Reads any common image file as 8-bit RGB."""

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from wbc.core.errors import UserError
from wbc.core.io import atomic

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")  # Pillow knows some that run programs
TURNED = {  # what puts upright an image with this EXIF orientation (EXIF 2.32, 4.6.5.1)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_PIXELS = 64_000_000  # 8000 × 8000; beyond it a file is taken for a decompression bomb

warnings.filterwarnings("ignore", module="PIL")  # of odd metadata and of many pixels; catch_warnings is not for threads


class ImageError(UserError):
    """An image cannot be used; the message is one line saying why, without the file's name."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes) -> np.ndarray:
    """Decode an image file's bytes.

    Grey, palette, CMYK and 16-bit images are converted, transparency is laid over white, and a camera's rotation
    flag is applied.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: not an image of `FORMATS`, truncated, larger than `MAX_PIXELS`, or of floating-point pixels.
    """
    with _opened(content) as image:
        if image.mode == "F":
            raise ImageError("floating-point pixels: their white is unknown")
        image.load()  # a TIFF is turned here already, and then says so
        if image.mode == "P" and image.palette is None:  # Pillow only asserts that there is one
            raise ImageError("unreadable image: a palette image without its palette")
        # ImageOps.exif_transpose would write the other tags again, and fail on values that it can read but not write
        if turn := TURNED.get(image.getexif().get(ExifTags.Base.Orientation)):
            image = image.transpose(turn)
        if image.mode.startswith("I"):  # 16 bits a pixel; Pillow would clip instead of scaling
            image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """The image of a file's bytes; whatever Pillow finds wrong with them, at once or later, is an `ImageError`."""
    if not content:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"too large: {image.width}×{image.height} pixels, more than {MAX_PIXELS:,}")
            yield image
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(f"not a {', '.join(FORMATS)} image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"too large: more than {MAX_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError, TypeError, struct.error) as error:  # the last two of odd EXIF or XMP
        raise ImageError(f"unreadable image: {error}") from None


def read(path: str | Path, expected_sha256: str) -> np.ndarray:
    """Decode the image a manifest row names, which must not have changed since it was ingested.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: missing, changed or unreadable.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; if the images moved: dvc repro -f ingest") from None
    if sha256(content) != expected_sha256:
        raise ImageError(f"{path}: changed since it was ingested; run: dvc repro -f ingest")
    return decode(content)


def write_jpeg(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as a figure small enough for git."""
    with atomic(path) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def read_mask(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """The mask file of an image of (H, W) pixels: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus.

    128 and 255 are taken for 1 and 2.

    Raises:
        ImageError: missing or unreadable, of another shape, or it holds another value.
    """
    try:
        with _opened(Path(path).read_bytes()) as image:
            mask = np.array(image)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    if mask.shape[:2] != shape:
        sizes = "{1}×{0} pixels for an image of {3}×{2} pixels".format(*mask.shape[:2], *shape)
        raise ImageError(f"{path}: {sizes}")
    mask = np.where(mask == 128, 1, np.where(mask == 255, 2, mask)).astype(np.uint8)
    if mask.ndim != 2 or mask.max(initial=0) > 2:
        raise ImageError(f"{path}: a mask has one channel of 0, 1, 2 or 0, 128, 255")
    return mask
