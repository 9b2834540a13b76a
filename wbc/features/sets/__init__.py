"""The sets of handcrafted features, found by their file names. A change to one file leaves the other sets alone.

Each has `TABLE`, the definitions of its D features; `NAMES`, their names; and `extract(image, mask)`, their values:

Args:
    image: (H, W, 3) uint8, RGB.
    mask: (H, W) uint8, 0 background, 1 cytoplasm, 2 nucleus. `v1` uses only whether it is above 0.

Returns:
    (D,) float64 in the order of `NAMES`, with the units of docs/reference.md; all 0 for an empty mask.

Raises:
    ValueError: image and mask differ in height or width.
"""
