"""The segmentations, none of them learned: a file for each, found by its name, so that a new one runs alone.

`segment` maps a (H, W, 3) uint8 RGB image to a (H, W) uint8 mask, 0 background, 1 cytoplasm, 2 nucleus, the cell being
everything above 0. `NUCLEUS` says whether the method looks for the nucleus; one that does not leaves 2 unused.
"""
