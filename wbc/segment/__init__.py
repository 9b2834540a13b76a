"""Cell and nucleus masks: the methods, their measures and their figure."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from wbc.segment import methods
from wbc.segment.metrics import dice, failed, iou, score
from wbc.segment.panel import panel

METHODS = tuple(module.name for module in iter_modules(methods.__path__))


def method(name: str) -> ModuleType:
    """One of `METHODS`: `segment(image)` and `NUCLEUS`, see `wbc.segment.methods`."""
    return import_module(f"wbc.segment.methods.{name}")


__all__ = ["METHODS", "dice", "failed", "iou", "method", "panel", "score"]
