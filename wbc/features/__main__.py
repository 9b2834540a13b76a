"""Prints docs/features.md: `python -m wbc.features > docs/features.md`."""

from wbc.features import markdown

print(markdown(), end="")
