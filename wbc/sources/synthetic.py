"""The drawn sample, laid out as a folder of one's own."""

from wbc.sources.folder import items

__all__ = ["LAYOUT", "items"]

LAYOUT = "the drawn sample; run: dvc repro draw"
