"""Contact sheets: what each class looks like, at a glance."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

PALE = 235
GAP = 2  # pixels between tiles


def contact_sheet(images_by_class: Mapping[str, Sequence[np.ndarray]], columns: int = 8, tile: int = 96) -> np.ndarray:
    """Lay out the first `columns` (H, W, 3) uint8 RGB images of each class in a row behind its label.

    Returns:
        (classes * tile, (columns + 1) * tile, 3) uint8 RGB; `tile` is in pixels. Missing images are pale.
    """
    sheet = np.full((len(images_by_class) * tile, (columns + 1) * tile, 3), PALE, np.uint8)
    for row, (label, images) in enumerate(images_by_class.items()):
        baseline = (tile // 8, row * tile + tile * 5 // 8)
        cv2.putText(sheet, label, baseline, cv2.FONT_HERSHEY_SIMPLEX, tile / 96, (40, 40, 40), 1, cv2.LINE_AA)
        for column, image in enumerate(images[:columns], start=1):
            inner = cv2.resize(image, (tile - GAP, tile - GAP), interpolation=cv2.INTER_AREA)
            sheet[row * tile :, column * tile :][: tile - GAP, : tile - GAP] = inner
    return sheet
