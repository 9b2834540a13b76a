"""The vocabulary every step shares: the 13 classes, in one fixed order.

The order is that of the report's Table 1 (most frequent first) and never depends on which files were read.
A label is the abbreviation; a target is its index in `CLASSES`.
"""

NAMES = {
    "SNE": "segmented neutrophil",
    "LY": "lymphocyte",
    "MO": "monocyte",
    "BL": "blast",
    "EO": "eosinophil",
    "MY": "myelocyte",
    "BA": "basophil",
    "BNE": "band neutrophil",
    "VLY": "variant lymphocyte",
    "MMY": "metamyelocyte",
    "PMY": "promyelocyte",
    "PC": "plasma cell",
    "PLY": "prolymphocyte",
}
CLASSES = tuple(NAMES)

# Training images per class in the study (report, Table 1): 28,901 in all, 13,015 : 11 = 1183 : 1.
TABLE_1 = {
    "SNE": 13015,
    "LY": 8101,
    "MO": 2746,
    "BL": 2012,
    "EO": 861,
    "MY": 441,
    "BA": 415,
    "BNE": 391,
    "VLY": 366,
    "MMY": 360,
    "PMY": 114,
    "PC": 68,
    "PLY": 11,
}
