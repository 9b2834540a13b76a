"""Handcrafted features of a cell: the report's sets of 9 and 89, and two sets of our own with 120."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from wbc.features import sets
from wbc.features.measures import count_degenerate

SETS = tuple(module.name for module in iter_modules(sets.__path__))


def feature_set(name: str) -> ModuleType:
    """The module of one of `SETS`, see `wbc.features.sets`."""
    return import_module(f"wbc.features.sets.{name}")


__all__ = ["SETS", "count_degenerate", "feature_set"]
