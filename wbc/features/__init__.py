"""Hand-crafted features of a cell: the report's first 9 and its later 89."""

from wbc.features.definitions import SETS, V1, V2, FeatureSet, extract_v1, extract_v2

__all__ = ["SETS", "V1", "V2", "FeatureSet", "extract_v1", "extract_v2"]
