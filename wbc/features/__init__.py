"""Handcrafted features of a cell: the report's first 9, its later 89, and 31 more beside those."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from wbc.features import sets
from wbc.features.measures import degenerate

SETS = tuple(module.name for module in iter_modules(sets.__path__))


def feature_set(name: str) -> ModuleType:
    """One of `SETS`: `TABLE`, `NAMES` and `extract(image, mask)`, see `wbc.features.sets`."""
    return import_module(f"wbc.features.sets.{name}")


__all__ = ["SETS", "degenerate", "feature_set"]
