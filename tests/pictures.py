"""Small files for tests of what reads folders."""

import numpy as np
from PIL import Image


def put(root, *names, mode="RGB", format=None):
    """Images of 8×8 pixels of noise that the name decides, in the format of its suffix."""
    for name in names:
        pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (8, 8, 3), np.uint8)
        save(root / name, Image.fromarray(pixels).convert(mode), format)


def save(path, image, format=None):
    """An image file of an array or a Pillow image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, format)


def write(root, texts):
    """Files of text, by name."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
