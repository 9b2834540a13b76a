"""A figure of segmentations, laid out like the report's Figures 3 and 5."""

from collections.abc import Sequence

import cv2
import numpy as np

COLUMNS = ("original", "cell", "nucleus", "outlines")
TILE = 240  # pixels of a picture's longer side
GAP = 8  # pixels of white between pictures
LINE = 26  # pixels of a line of text
CELL, NUCLEUS = (0, 120, 0), (255, 230, 0)  # outlines: dark green and yellow, of which no stain has either


def panel(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    nucleus: bool = True,
) -> np.ndarray:
    """Show each image beside its cell mask, its nucleus mask and the outlines of both.

    Args:
        images: (H, W, 3) uint8 each, RGB, of any sizes.
        masks: the (H, W) uint8 mask of each image, 0 background, 1 cytoplasm, 2 nucleus.
        titles: a line of ASCII text above each row, such as the image's class and name.
        nucleus: whether to show the nucleus, which a method need not look for.

    Returns:
        (height, width, 3) uint8, RGB: a row for each image, a column for each of `COLUMNS` that applies.

    Raises:
        ValueError: the sequences differ in length.
    """
    columns = [name for name in COLUMNS if nucleus or name != "nucleus"]
    above = LINE if titles else GAP
    figure = np.full((LINE + len(images) * (above + TILE), len(columns) * (TILE + GAP) - GAP, 3), 255, np.uint8)
    for column, name in enumerate(columns):
        _write(figure, name, left=column * (TILE + GAP), top=0)
    for row, (image, mask, title) in enumerate(zip(images, masks, titles or [""] * len(images), strict=True)):
        top = LINE + row * (above + TILE)
        _write(figure, title, left=0, top=top)
        pictures = _pictures(image, mask)
        for column, name in enumerate(columns):
            picture = pictures[name]
            height, width = picture.shape[:2]
            left = column * (TILE + GAP)
            figure[top + above : top + above + height, left : left + width] = picture
    return figure


def _pictures(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """One picture for each of `COLUMNS`, the longer side scaled to `TILE`."""
    height, width = mask.shape
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    outlines = image.copy()
    regions = [np.uint8(mask > 0), np.uint8(mask == 2)]
    for region, colour in zip(regions, (CELL, NUCLEUS), strict=True):
        contours, _ = cv2.findContours(region, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlines, contours, contourIdx=-1, color=colour, thickness=2)
    shown = [image, *(cv2.cvtColor(255 * region, cv2.COLOR_GRAY2RGB) for region in regions), outlines]
    return dict(zip(COLUMNS, shown, strict=True))


def _write(figure: np.ndarray, text: str, left: int, top: int) -> None:
    cv2.putText(figure, text, (left, top + LINE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
