"""Images as another microscope, camera or slide would show them: MedMNIST-C's corruptions of blood cells.

The corruptions and their strengths at severities 1 to 5 are those of BloodMNIST-C (Di Salvo, Doerrich and Ledig 2024,
arXiv:2406.17536). Its package needs ImageMagick and incompatible versions, so they are implemented from its description
and not equal bit by bit. The sizes and the colour of the spots are our choice. Lengths are in pixels of a 224 px image
and scale with the image's side, but `pixelate` and `jpeg` depend on the actual pixels and affect small images more. A
corruption takes a (S, S, 3) uint8 RGB image, a random generator and the parameters of its severity.
"""

import math
import zlib

import cv2
import numpy as np

from wbc.core.parallel import parallel_map

SIDE = 224  # of the images that lengths refer to, in pixels
INK = (70, 40, 90)  # RGB of a deposit: dark purple


def pixelate(image: np.ndarray, rng: np.random.Generator, fraction: float) -> np.ndarray:
    """Show blocks, as many per side as a fraction of the pixels."""
    few = cv2.resize(image, [round(len(image) * fraction)] * 2, interpolation=cv2.INTER_AREA)
    return cv2.resize(few, image.shape[:2], interpolation=cv2.INTER_NEAREST)


def jpeg(image: np.ndarray, rng: np.random.Generator, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def defocus(image: np.ndarray, rng: np.random.Generator, radius: float) -> np.ndarray:
    """Blur by a disc with anti-aliased edge. MedMNIST-C smooths the edge by less than a pixel."""
    radius *= len(image) / SIDE
    x, y = _grid(radius + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def motion(image: np.ndarray, rng: np.random.Generator, radius: float, sigma: float) -> np.ndarray:
    """Blur by half a Gaussian of length 2 radius + 1, as of a decelerating slide, at most 45° from the horizontal."""
    scale = len(image) / SIDE
    angle, length, sigma = rng.uniform(-math.pi / 4, math.pi / 4), 2 * radius * scale, sigma * scale
    x, y = _grid(length + 1)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    on_line = np.clip(1 - np.abs(across), 0, 1) * (along > -0.5) * (along < length + 0.5)
    kernel = on_line * np.exp(-(along**2) / (2 * sigma**2))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def brightness(image: np.ndarray, rng: np.random.Generator, factor: float) -> np.ndarray:
    return image * np.float32(factor)


def contrast(image: np.ndarray, rng: np.random.Generator, factor: float) -> np.ndarray:
    """Multiply the difference from the mean grey by a factor."""
    mean = np.float32(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
    return mean + np.float32(factor) * (image - mean)


def saturate(image: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Add an amount to the HSV saturation, 0 to 1: too strong a stain."""
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.minimum(hsv[..., 1] + amount, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255


def stain_deposit(image: np.ndarray, rng: np.random.Generator, most: int, radius: float) -> np.ndarray:
    """Add one to `most` ragged dark spots of precipitated stain."""
    side = len(image)
    count, grain = 1 + int(rng.random() * most), rng.standard_normal((24, 24), np.float32)
    ragged = cv2.resize(grain, (side, side), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    ink = np.zeros((side, side), np.float32)
    for left, top in rng.uniform(0.1 * side, 0.9 * side, (count, 2)).tolist():
        distance = np.hypot(x - left, y - top) / (radius * side / SIDE)
        ink = np.maximum(ink, np.clip(4 * (1 + 0.3 * ragged - distance), 0, 0.9))
    return image * (1 - ink[..., None]) + np.float32(INK) * ink[..., None]


def bubble(image: np.ndarray, rng: np.random.Generator, largest: float, most: int) -> np.ndarray:
    """Add seven to `most` bubbles: pale discs with radii of 3 to `largest` px and a paler rim, 2 px wide."""
    side, scale = len(image), len(image) / SIDE
    count = 7 + int(rng.random() * (most - 6))
    pale = np.zeros((side, side), np.uint8)
    for left, top, size in rng.random((count, 3)).tolist():
        radius = (3 + size * (largest - 3)) * scale
        centre = [radius + position * (side - 2 * radius) for position in (left, top)]
        for reach, cover in ((radius + 2 * scale, 130), (radius, 100)):
            fixed = [round(16 * length) for length in (*centre, reach)]  # in units of 1/16 px
            cv2.circle(pale, fixed[:2], fixed[2], cover, cv2.FILLED, cv2.LINE_AA, shift=4)
    cover = pale[..., None] / np.float32(255)
    return image * (1 - cover) + 255 * cover


CORRUPTIONS = {  # function, and its parameters at severities 1 to 5
    "pixelate": (pixelate, ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))),
    "jpeg": (jpeg, ((50,), (30,), (15,), (10,), (7,))),
    "defocus": (defocus, ((2,), (3,), (4,), (5,), (6,))),
    "motion": (motion, ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9))),
    "brightness_up": (brightness, ((1.1,), (1.2,), (1.3,), (1.35,), (1.4,))),
    "brightness_down": (brightness, ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,))),
    "contrast_up": (contrast, ((1.1,), (1.15,), (1.2,), (1.25,), (1.3,))),
    "contrast_down": (contrast, ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,))),
    "saturate": (saturate, ((0.05,), (0.1,), (0.15,), (0.17,), (0.2,))),
    "stain_deposit": (stain_deposit, ((1, 9), (2, 9), (3, 9), (3, 13), (3, 17))),
    "bubble": (bubble, ((5, 10), (7, 10), (10, 10), (12, 12), (15, 12))),
}


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Corrupted copies of (N, S, S, 3) uint8 RGB images, computed on all cores.

    Args:
        images: to be corrupted.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of the random numbers, which otherwise depend only on the image: all severities draw the same.
    """
    function, parameters = CORRUPTIONS[name]

    def one(image: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([seed, zlib.crc32(image.tobytes())])
        found = function(image, rng, *parameters[severity - 1])
        return found if found.dtype == np.uint8 else np.rint(found).clip(0, 255)

    corrupted = np.empty_like(images)
    tasks = ((image,) for image in images)
    for i, image in enumerate(parallel_map(one, tasks, len(images), f"{name} {severity}", threads=True)):
        corrupted[i] = image
    return corrupted


def _grid(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y of a square of pixels, up to `reach` from its middle."""
    line = np.arange(-math.ceil(reach), math.ceil(reach) + 1, dtype=np.float32)
    return np.meshgrid(line, line)
