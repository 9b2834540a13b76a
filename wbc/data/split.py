"""Stratified splits that depend on the images' content and the seed, never on names or order."""

import hashlib

import numpy as np
import pandas as pd


def order(manifest: pd.DataFrame, seed: int, purpose: str) -> pd.Series:
    """Each image's place in a shuffle of its class, evenly spread over (0, 1).

    The images of a class come in the order of a keyed hash of their content, and the i-th of n stands at
    (i + 1/2) / n. So `order < f` takes a share f of every class, rounded to whole images: a class with a single one
    keeps it out of any share up to a half, and a smaller share is contained in a larger one.
    """
    keys = [hashlib.sha256(f"{seed}:{purpose}:{key}".encode()).hexdigest() for key in manifest["sha256"]]
    frame = pd.DataFrame({"label": manifest["label"], "key": keys, "id": manifest["id"]}, index=manifest.index)
    classes = frame.sort_values(["key", "id"]).groupby("label")["key"]
    place = classes.cumcount().reindex(frame.index)
    return (place + 0.5) / frame.groupby("label")["key"].transform("size")


def held_back(manifest: pd.DataFrame, fraction: float, seed: int) -> pd.Series:
    """Whether each image of a pool belongs to its test part, a share `fraction` of every class.

    The training part's size is `1 - fraction` of all, rounded, and its seats go to the classes by largest remainder,
    ties to the smaller class: so the challenge's 38,535 images divide into the study's 28,901 and 9,634, class by
    class as in Table 1, where rounding each class by itself does not. Every class keeps an image in training.
    """
    sizes = manifest.groupby("label").size().sort_values(kind="stable")
    training = len(manifest) - round(fraction * len(manifest))
    seats, remainders = np.divmod(sizes * training, len(manifest))  # integers: no tie is broken by a last bit
    more = remainders.sort_values(ascending=False, kind="stable").index[: training - seats.sum()]
    seats[more] += 1
    held = sizes - seats.clip(lower=1)
    label = manifest["label"]
    return order(manifest, seed, "test") * label.map(sizes) < label.map(held)


def split(manifest: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Validation order and cross-validation folds of the training part.

    Returns:
        One row per image of the manifest, in its order: `id`, `part`, `validation` (the image is in a validation
        share f where `validation < f`) and `fold` (0 … folds - 1, the classes spread evenly). Test images have
        neither: NaN and -1.
    """
    train = manifest[manifest["part"] == "train"]
    result = manifest[["id", "part"]].copy()
    result["validation"] = order(train, seed, "validation").reindex(manifest.index)
    # Dealing one class after the other keeps both every class and the totals even.
    dealt = train.assign(place=order(train, seed, "fold")).sort_values(["label", "place"]).index
    result["fold"] = pd.Series(np.arange(len(dealt)) % folds, index=dealt).reindex(manifest.index, fill_value=-1)
    return result
