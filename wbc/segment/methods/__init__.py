"""The segmentation methods, found by their file names. A change to one file leaves the other methods alone.

Each has `segment`, which maps a (H, W, 3) uint8 RGB image to a (H, W) uint8 mask (0 background, 1 cytoplasm, 2 nucleus;
the cell is both), and `NUCLEUS`, whether it finds the nucleus. A method that does not leaves 2 unused.
"""
