"""A figure of segmentations, laid out like the report's Figures 3 and 5."""

from collections.abc import Sequence

import cv2
import numpy as np

COLUMNS = ("original", "cell", "nucleus", "outlines")
TILE, GAP, LINE = 240, 8, 26  # pixels: longer side of a picture, white between columns, height of a line of text
CELL, NUCLEUS = (0, 120, 0), (255, 230, 0)  # RGB of the outlines: dark green and yellow, which no stain has


def panel(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], titles: Sequence[str], nucleus: bool
) -> np.ndarray:
    """Show each image, under an ASCII title, beside its cell mask, its nucleus mask if wanted, and their outlines.

    Images are (H, W, 3) uint8, RGB, of any sizes; masks (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus. The figure
    is (height, width, 3) uint8, RGB.
    """
    columns = [column for column, name in enumerate(COLUMNS) if nucleus or name != "nucleus"]
    figure = np.full((LINE + len(images) * (LINE + TILE), len(columns) * (TILE + GAP) - GAP, 3), 255, np.uint8)
    for place, column in enumerate(columns):
        _write(figure, COLUMNS[column], place * (TILE + GAP), 0)
    for row, (image, mask, title) in enumerate(zip(images, masks, titles, strict=True)):
        top = LINE + row * (LINE + TILE)
        _write(figure, title, 0, top)
        pictures = _pictures(image, mask)
        for place, column in enumerate(columns):
            height, width = pictures[column].shape[:2]
            figure[top + LINE :, place * (TILE + GAP) :][:height, :width] = pictures[column]
    return figure


def _pictures(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
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
    return [image, *(cv2.cvtColor(255 * region, cv2.COLOR_GRAY2RGB) for region in regions), outlines]


def _write(figure: np.ndarray, text: str, left: int, top: int) -> None:
    cv2.putText(figure, text, (left, top + LINE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
