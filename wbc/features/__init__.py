"""Handcrafted features of a cell: the report's first 9 and its later 89, listed in docs/features.md."""

from wbc.features.definitions import V1, V2, markdown
from wbc.features.measures import SETS, FeatureSet, degenerate, extract_v1, extract_v2

__all__ = ["SETS", "V1", "V2", "FeatureSet", "degenerate", "extract_v1", "extract_v2", "markdown"]
