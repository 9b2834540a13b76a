"""The 13 classes in one fixed order, that of the report's Table 1 (most frequent first).

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
# Training images per class (report, Table 1): 28,901 in all
TABLE_1 = dict(zip(CLASSES, (13015, 8101, 2746, 2012, 861, 441, 415, 391, 366, 360, 114, 68, 11), strict=True))
