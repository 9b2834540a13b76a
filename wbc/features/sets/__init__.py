"""The sets of handcrafted features: a file for each, found by its name, so that a change to one leaves the others be.

`TABLE` says what a set's features are, `NAMES` how they are called, and `extract` maps a (H, W, 3) uint8 RGB image and
its (H, W) uint8 mask to their values, float64 in that order. `v3` has `v2`'s too.
"""
