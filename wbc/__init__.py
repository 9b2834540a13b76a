"""A reproducible study of white-blood-cell classification: 13 classes, 1183:1, macro F1."""
