"""Finds images that let a score cheat: the same picture in training and test, or under two labels."""

import cv2
import numpy as np
import pandas as pd

COLUMNS = ["kind", "id", "other", "distance"]
KINDS = ("identical", "near_identical", "two_labels")
SIDE = 16  # a fingerprint has SIDE² bits
MARGIN = 1  # grey levels: without it the bits of the plain background are noise
# Bits in which copies may differ. Copies of 150 real cells (PBC, Acevedo et al. 2020) differ in at most 13 after JPEG
# at quality 50, brightening, scaling to 224 pixels or to a half, and in at most 17 after losing 2 pixels on every side;
# among 506 of these cells no two differ in fewer than 57.
THRESHOLD = 16


def fingerprint(image: np.ndarray) -> np.ndarray:
    """A difference hash: which pixel is darker than its right neighbour in the image shrunk to 17×16.

    It survives scaling, compression and a change of brightness, not rotation or mirroring.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (4,) uint64: 256 bits.
    """
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(np.diff(small.astype(np.int16)) > MARGIN).view(np.uint64)


def across_parts(manifest: pd.DataFrame, fingerprints: np.ndarray) -> pd.DataFrame:
    """Test images of which training has a copy.

    Args:
        manifest: N images, with `id`, `sha256` and `part`.
        fingerprints: theirs, (N, 4) uint64.

    Returns:
        One row per such test image, columns `COLUMNS`: `identical` (equal bytes) or `near_identical`, its id, the id
        of the closest training image, and the bits in which their fingerprints differ.
    """
    rows = []
    train = (manifest["part"] == "train").to_numpy()
    ids, hashes, known = manifest["id"].to_numpy(), manifest["sha256"].to_numpy(), fingerprints[train]
    first = dict(zip(hashes[train][::-1], ids[train][::-1], strict=True))
    for i in np.flatnonzero(~train):
        distances = np.bitwise_count(known ^ fingerprints[i]).sum(1, dtype=np.int64)
        closest = distances.argmin()
        if hashes[i] in first:
            rows.append(("identical", ids[i], first[hashes[i]], 0))
        elif distances[closest] <= THRESHOLD:
            rows.append(("near_identical", ids[i], ids[train][closest], int(distances[closest])))
    return pd.DataFrame(rows, columns=COLUMNS)


def two_labels(manifest: pd.DataFrame) -> pd.DataFrame:
    """Images whose bytes occur under another label too.

    Args:
        manifest: with `id`, `sha256` and `label` ("" where unlabelled, which contradicts nothing).

    Returns:
        One row per such image, columns `COLUMNS`, beside the first image that contradicts it.
    """
    labelled = manifest[manifest["label"] != ""]
    doubtful = labelled[labelled.groupby("sha256")["label"].transform("nunique") > 1]
    rows = []
    for row in doubtful.itertuples():
        others = doubtful[(doubtful["sha256"] == row.sha256) & (doubtful["label"] != row.label)]
        rows.append(("two_labels", row.id, others["id"].iloc[0], 0))
    return pd.DataFrame(rows, columns=COLUMNS)
