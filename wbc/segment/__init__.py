"""Masks of cell and nucleus: segmentation methods, their scores and a figure."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from wbc.segment import methods
from wbc.segment.metrics import dice, failed, iou, score
from wbc.segment.panel import panel

METHODS = tuple(module.name for module in iter_modules(methods.__path__))


def method(name: str) -> ModuleType:
    """The module of one of `METHODS`, see `wbc.segment.methods`."""
    return import_module(f"wbc.segment.methods.{name}")


__all__ = ["METHODS", "dice", "failed", "iou", "method", "panel", "score"]
