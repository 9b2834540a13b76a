"""Read any common image file as 8-bit RGB."""

import hashlib
import io
import re
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from wbc.core.errors import UserError
from wbc.core.io import atomic

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF")  # Pillow knows some that run programs
UPRIGHT = {  # by EXIF orientation, what turns the image upright (EXIF 2.32, 4.6.5.1)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEEP = ("I;16", "I;16B", "I;16L", "I", "F")  # Pillow's modes of more than 8 bits
STACK = re.compile(r'\b(slices|frames|Size[ZT])=(?!"?1\b)')  # ImageJ and OME-TIFF: pages that are not colours
FEW_LEVELS = 16  # levels that are left where 12-bit pixels were stored in 16 bits and their upper 8 bits kept
MAX_PIXELS = 64_000_000  # 8000 × 8000; a larger image is taken for a decompression bomb

warnings.filterwarnings("ignore", module="PIL")  # about odd metadata and many pixels; not catch_warnings, for threads


class ImageError(UserError):
    """An image cannot be used; the message is one line saying why, without the file's name."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes) -> np.ndarray:
    """Decode an image file's bytes, (H, W, 3) uint8 RGB.

    Grey, palette, CMYK and deeper images are converted. Three grey pages of a TIFF become red, green and blue.
    Transparent pixels are laid over white. The camera's rotation flag is applied.

    Raises:
        ImageError: not an image of `FORMATS`, truncated, larger than `MAX_PIXELS`, wholly transparent, of several
            pages, or of more than 8 bits with an unknown white.
    """
    image = _convert(content)
    if image.mode == "RGBA":
        if image.getextrema()[3][1] < 128:
            raise ImageError("transparent: no pixel is even half opaque")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(image)


def grey_levels(image: np.ndarray) -> int:
    """The number of values of an (H, W, 3) uint8 image in the channel that has most."""
    return max(np.count_nonzero(cv2.calcHist([image], [c], None, [256], [0, 256])) for c in range(3))


def _convert(content: bytes, labels: bool = False) -> Image.Image:
    """The upright image in a file's bytes, 8-bit RGB or RGBA; with `labels`, deeper values below 256 are kept."""
    if not content:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pages = _pages(image)
            if len(pages) == 1 and image.mode not in DEEP:
                upright = _load(image, *pages)
                return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            values = _scale(np.dstack([np.array(_load(image, page)) for page in pages]), image, labels)
            return Image.fromarray(np.broadcast_to(values, (*values.shape[:2], 3)))
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        if content[:4] in (b"II*\0", b"MM\0*"):
            raise ImageError("unreadable image: a TIFF with a damaged header or with pixels of a rare kind") from None
        raise ImageError(f"not a {', '.join(FORMATS)} image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"too large: more than {MAX_PIXELS:,} pixels") from None
    except (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error) as error:
        raise ImageError(f"unreadable image: {error}") from None  # odd EXIF or XMP raises the last three


def _pages(image: Image.Image) -> list[int]:
    """The number of the image's only page, or of a TIFF's three grey ones for red, green and blue.

    Smaller copies that are marked as such do not count, nor the further views of a camera's JPEG.
    """
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if count == 1:
        return [0]
    kinds, description = {}, getattr(image, "tag_v2", {}).get(Tag.ImageDescription)
    for page in range(count) if image.format == "TIFF" else ():
        image.seek(page)
        if not _tag(image, Tag.NewSubfileType, 0) & 1:
            bits, photometric = _tag(image, Tag.BitsPerSample, 1), _tag(image, Tag.PhotometricInterpretation, 0)
            kinds[page] = image.mode, image.size, bits, photometric
    image.seek(next(iter(kinds), 0))
    colours = len(kinds) == 3 and len(set(kinds.values())) == 1 and image.mode in ("L", *DEEP)
    if len(kinds) != 1 and not (colours and not STACK.search(str(description))):
        raise ImageError(f"several pages: {count}; expected one, or three grey ones for red, green and blue")
    return list(kinds)


def _load(image: Image.Image, page: int) -> Image.Image:
    """Load a page and turn it upright."""
    image.seek(page)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"too large: {image.width}×{image.height} pixels, more than {MAX_PIXELS:,}")
    deep = ";16" in str(image.tile)
    if _tag(image, Tag.BitsPerSample, 8) == 16 and not deep:  # Pillow would take their bytes for pixels
        raise ImageError("unreadable image: 16-bit colours in separate planes")
    image.load()  # turns a TIFF upright already, and then clears its orientation
    if image.mode == "P" and image.palette is None:  # Pillow only asserts that there is one
        raise ImageError("unreadable image: a palette image without its palette")
    if image.mode in ("P", "PA") and max(getattr(image, "tag_v2", {}).get(Tag.ColorMap, [256])) < 256:
        raise ImageError("unknown white: a palette of 16 bits with no value above 255")
    # ImageOps.exif_transpose rewrites the other tags too, and fails on values that can be read but not written.
    turn = UPRIGHT.get(image.getexif().get(Tag.Orientation))
    upright = image.transpose(turn) if turn else image
    # Pillow keeps the upper 8 of a colour's 16 bits.
    if deep and image.mode not in DEEP and max(high for _, high in upright.convert("RGB").getextrema()) < 128:
        raise ImageError("unknown white: 16-bit colours with no value in the upper half")
    return upright


def _scale(values: np.ndarray, image: Image.Image, labels: bool) -> np.ndarray:
    """Scale deeper values to 8 bits, from black to white.

    White is the largest value that a TIFF states, or else the largest of all bits if any pixel uses the highest bit:
    cameras store 10 to 14 bits in 16, and none of their files says so.
    """
    if values.dtype == np.uint8:
        return values
    if image.mode == "F":
        raise ImageError("floating-point pixels: their white is unknown")
    bits, signed = _tag(image, Tag.BitsPerSample, 16), _tag(image, Tag.SampleFormat, 1) == 2
    if bits == 32 and not signed:
        values = values.view(np.uint32)  # Pillow takes them for signed ones
    low, high = int(values.min()), int(values.max())
    if labels and 0 <= low <= high < 256:
        return values.astype(np.uint8)
    stated = _tag(image, Tag.MaxSampleValue, 0)
    known = stated in [2**n - 1 for n in range(8, bits)]  # any other value is the brightest pixel's
    white = stated if known else 2**bits - 1
    if low < 0 or high > white or (high <= white // 2 and not known and bits > 12):
        raise ImageError(f"unknown white: {bits}-bit pixels of {low} to {high}")
    scaled = (values.astype(np.int64) * 255 + white // 2) // white
    if _tag(image, Tag.PhotometricInterpretation, 1) == 0:  # WhiteIsZero, which Pillow heeds up to 8 bits
        scaled = 255 - scaled
    return scaled.astype(np.uint8)


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """The first value of a TIFF's tag."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return value[0] if isinstance(value, tuple) else value


def read(path: str | Path, expected_sha256: str) -> np.ndarray:
    """Decode an image of the manifest, (H, W, 3) uint8 RGB.

    Raises:
        ImageError: missing, changed since it was ingested, or unreadable.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; if the images moved: dvc repro -f ingest") from None
    if sha256(content) != expected_sha256:
        raise ImageError(f"{path}: changed since it was ingested; run: dvc repro -f ingest")
    return decode(content)


def read_mask(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """Read the mask of an image of `shape`, (H, W) uint8: 0 background, 1 cytoplasm, 2 nucleus, or 0, 128, 255.

    Raises:
        ImageError: missing or unreadable, of another shape, or with other values.
    """
    try:
        pixels = np.array(_convert(Path(path).read_bytes(), labels=True))
    except (OSError, ImageError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', error)}") from None
    if pixels.shape[:2] != shape:
        sizes = "{1}×{0} pixels for an image of {3}×{2} pixels".format(*pixels.shape[:2], *shape)
        raise ImageError(f"{path}: {sizes}")
    mask = pixels[..., 0]
    coloured = (pixels[..., 1:3] != mask[..., None]).any() or (pixels[..., 3:] < 255).any()
    mask = np.where(mask == 128, 1, np.where(mask == 255, 2, mask))
    if coloured or mask.max(initial=0) > 2:
        raise ImageError(f"{path}: a mask has one channel of 0, 1, 2 or 0, 128, 255")
    return mask


def write_jpeg(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as a figure small enough for git."""
    with atomic(path) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
