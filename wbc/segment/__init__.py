"""Cell and nucleus masks: the methods, their measures and their figure."""

from wbc.segment.methods import CELL_ONLY, METHODS
from wbc.segment.metrics import dice, failed, iou, score
from wbc.segment.panel import panel

__all__ = ["CELL_ONLY", "METHODS", "dice", "failed", "iou", "panel", "score"]
