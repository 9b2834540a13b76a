"""The built-in sample, laid out as a folder."""

from wbc.sources.folder import items

__all__ = ["LAYOUT", "items"]

LAYOUT = "the built-in sample; run: dvc repro draw"
