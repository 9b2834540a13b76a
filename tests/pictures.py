"""Small image files for tests."""

import numpy as np
from PIL import Image


def put(root, *names, mode="RGB", format=None):
    """Images of 8×8 pixels of noise that the name decides, in the format of its suffix."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(root / name, format)
