"""From a source's images to the manifest: layouts, copies and leaks, and what the stage prints."""

import json
import os
import shutil
import tracemalloc
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.sparse.csgraph import connected_components

from pictures import put, save
from wbc.core.errors import UserError
from wbc.core.io import write_csv
from wbc.dataset import leaks
from wbc.dataset.ingest import ingest
from wbc.dataset.leaks import label_conflicts, near_copies, perceptual_hash
from wbc.dataset.split import folds, validation_positions
from wbc.sources import scan
from wbc.synthetic import draw


def counts(manifest, part):
    return manifest.loc[manifest["part"] == part, "label"].value_counts().to_dict()


# --- layouts


def test_wbcbench_joins_its_lists_and_draws_a_new_test_part(archives):
    found = ingest("wbcbench", archives("wbcbench"), 0.25, 1)
    assert found.rejects.empty
    assert found.leaks.empty
    assert set(zip(found.manifest["width"], found.manifest["height"], strict=True)) == {(368, 370)}
    assert counts(found.manifest, "train") == {"SNE": 18, "LY": 9, "BNE": 4, "PLY": 1}
    assert counts(found.manifest, "test") == {"SNE": 6, "LY": 3, "BNE": 2}  # 43 × 0.25 is 11 images
    assert not found.manifest["path"].str.contains("phase2/test").any()


@pytest.mark.parametrize("sample", [True, False])
def test_kaggles_test_part_is_the_sample_submissions_or_the_unlisted_images(archives, tmp_path, sample):
    root = shutil.copytree(archives("kaggle"), tmp_path / "raw")
    if not sample:
        (root / "sample_submission.csv").unlink()
    found = ingest("kaggle", root, 0.25, 1)
    ids = ["00000500", "00000501", "00000502"]
    assert found.rejects.empty
    assert found.manifest.loc[found.manifest["part"] == "test", "id"].tolist() == (ids[::-1] if sample else ids)
    assert counts(found.manifest, "test") == {"": 3}  # the sample's labels are placeholders
    assert counts(found.manifest, "train") == {"SNE": 12, "LY": 6, "BL": 4, "PLY": 1}


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    def forbidden(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    put(tmp_path, "LY/a.png")
    monkeypatch.setattr(os, "scandir", forbidden)  # root, who may read everything, runs the tests too
    with pytest.raises(PermissionError):
        scan("folder", tmp_path)


# --- copies and leaks


def write_copies(root, label="SNE"):
    """A training cell; in the test part its bytes, the same picture saved again, and another cell."""
    rng = np.random.default_rng(3)
    image = draw("SNE", 128, rng)[0]
    files = {
        f"train/{label}/cell.png": image,
        "train/LY/other.png": draw("LY", 128, rng)[0],
        "test/SNE/same.png": image,
        "test/SNE/again.jpg": cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA),
        "test/SNE/own.png": draw("SNE", 128, rng)[0],
    }
    for name, pixels in files.items():
        save(root / name, pixels)


def test_a_test_image_with_a_copy_in_training_is_listed(tmp_path):
    write_copies(tmp_path)
    found = ingest("folder", tmp_path, 0.25, 1).leaks
    assert found.drop(columns="distance").to_numpy().tolist() == [
        ["near_identical", "test/SNE/again.jpg", "train/SNE/cell.png"],
        ["identical", "test/SNE/same.png", "train/SNE/cell.png"],
    ]
    assert 0 <= found["distance"].max() <= leaks.THRESHOLD


def test_copies_under_two_labels_are_rejected_in_both_parts_and_listed(tmp_path):
    write_copies(tmp_path, label="BNE")
    found = ingest("folder", tmp_path, 0.25, 1)
    again, same, cell = "test/SNE/again.jpg", "test/SNE/same.png", "train/BNE/cell.png"
    pairs = [[cell, same], [again, cell], [same, cell]]
    assert found.leaks[["id", "other"]].to_numpy().tolist() == pairs
    assert set(found.leaks["kind"]) == {"two_labels"}
    assert (found.leaks["distance"] > 0).tolist() == [False, True, False]
    assert found.rejects.to_numpy().tolist() == [[id, "same image under two labels", other] for id, other in pairs]
    assert not {again, same, cell} & set(found.manifest["id"])


def test_near_copies_conflict_if_labelled_and_not_blank():
    bits = np.repeat(np.random.default_rng(0).random((4, 256)) < 0.4, 2, axis=0)
    bits[1, :16] ^= True  # near
    bits[3, :17] ^= True  # too far
    bits[4:6] = False
    bits[4, :3] = True  # blank
    manifest = pd.DataFrame({"id": [*"abcdefgh"], "sha256": [*"stuvwxyz"], "label": ["SNE", "LY"] * 3 + ["SNE", ""]})
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    expected = [["two_labels", "a", "b", 16], ["two_labels", "b", "a", 16]]
    assert label_conflicts(manifest, hashes).to_numpy().tolist() == expected
    manifest.loc[[4, 5], "sha256"] = "same"
    expected += [["two_labels", "e", "f", 3], ["two_labels", "f", "e", 3]]
    assert label_conflicts(manifest, hashes).to_numpy().tolist() == expected


@pytest.mark.skipif("WBC_REAL_DATA" not in os.environ, reason="WBC_REAL_DATA names no folder that holds pbc/")
def test_all_real_cells_are_accounted_for():
    root = Path(os.environ["WBC_REAL_DATA"], "pbc")
    found = ingest("pbc", root, 0.25, 1)
    images = [path for path in root.rglob("*.jpg") if not path.name.startswith(".")]
    assert len(found.manifest) + len(found.rejects) + sum(found.notes["left_out"].values()) == len(images)
    assert label_conflicts(found.manifest, found.hashes).empty


def test_hashes_of_changed_copies_are_close_and_of_other_cells_far_apart():
    cells = [draw("LY", 128, rng)[0] for rng in [np.random.default_rng(0)] for _ in range(30)]
    hashes = np.array([perceptual_hash(cell) for cell in cells])
    between = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1)[np.triu_indices(30, 1)]
    assert between.min() > 2 * leaks.THRESHOLD
    for cell, own in zip(cells, hashes, strict=True):
        compressed = cv2.imdecode(cv2.imencode(".jpg", cell, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)
        brighter = np.clip(cell * 1.05 + 5, 0, 255).astype(np.uint8)
        for copy in (compressed, brighter, cv2.resize(cell, (96, 100))):
            assert np.bitwise_count(perceptual_hash(copy) ^ own).sum() <= leaks.THRESHOLD


@pytest.fixture
def hashes():
    """2,000 hashes, 300 of them others with 1 to 20 bits flipped, and 40 with all their set bits in one place.

    For each two bands of one group there are two hashes that agree in these, differ in `THRESHOLD` bits, and agree in
    no other two bands of one group.
    """
    rng = np.random.default_rng(0)
    bits = rng.random((2000, 256)) < 0.4
    for i in range(300):
        bits[i] = bits[1500 + i % 250]
        bits[i, rng.permutation(256)[: 1 + i % 20]] ^= True
    bits[1000:1040, :250] = False
    bands = leaks.THRESHOLD + leaks.GROUPS + 1
    for group in range(leaks.GROUPS):
        others = [other for other in range(leaks.GROUPS) if other != group]  # a group's first band has its number
        for place, pair in enumerate(combinations(range(group, bands, leaks.GROUPS), 2)):
            i = 400 + 30 * group + place
            bits[i] = bits[700 + i]
            bits[i, [band for band in range(bands) if band not in (*pair, *others)]] ^= True
    return np.packbits(bits, axis=1).view(np.uint64)


def test_no_near_copy_is_missed_none_invented_and_few_pairs_are_compared(hashes, monkeypatch):
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(2) <= leaks.THRESHOLD
    compared, bitwise_count = [], np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda words: compared.append(len(words)) or bitwise_count(words))
    expected = pd.factorize(connected_components(near)[1])[0]
    assert len(np.unique(expected)) < len(hashes) - 300
    assert (pd.factorize(near_copies(hashes))[0] == expected).all()
    assert sum(compared) < 10 * len(hashes)  # all pairs would be 1,000 for each
    assert [len(near_copies(hashes[:few])) for few in range(3)] == [0, 1, 2]


def test_many_copies_of_one_image_are_joined_without_a_list_of_their_pairs():
    bits = np.random.default_rng(0).permuted(np.arange(256) < np.full((2000, 1), 8), axis=1)
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    tracemalloc.start()
    try:
        assert len(np.unique(near_copies(hashes))) == 1
        assert tracemalloc.get_traced_memory()[1] < 2000**2 / 2  # a byte for each pair
    finally:
        tracemalloc.stop()


COPIES = ["00.png", "same.png", "again.png", "saved.jpg", "small.png"]


@pytest.fixture
def pool(tmp_path):
    """Cells of two classes and three patients, no test part; `COPIES` are one cell: twice its bytes, and changed."""
    root, rng = tmp_path / "raw", np.random.default_rng(4)
    cells = [draw("SNE" if i < 24 else "LY", 128, rng)[0] for i in range(36)]
    rows = [(f"{i:02}.png", "SNE" if i < 24 else "LY", f"patient {i // 10}" if 4 < i < 30 else "") for i in range(36)]
    for cell, (name, *_) in zip(cells, rows, strict=True):
        save(root / "images" / name, cell)
    for name in ("same.png", "again.png"):
        shutil.copy(root / "images/00.png", root / "images" / name)
    Image.fromarray(cells[0]).save(root / "images/saved.jpg", quality=70)
    small = cv2.resize(np.clip(cells[0] * 1.05 + 5, 0, 255).astype(np.uint8), (96, 96), interpolation=cv2.INTER_AREA)
    save(root / "images/small.png", small)
    write_csv(root / "labels.csv", ["ID", "labels", "group"], rows + [(name, "SNE", "") for name in COPIES[1:]])
    return root


def test_copies_and_patients_stay_in_one_part_fold_and_side_of_the_validation(pool):
    for seed in range(5):
        found = ingest("folder", pool, 0.25, seed)
        manifest = found.manifest
        assert counts(manifest, "test") == {"SNE": 7, "LY": 3}
        copied = manifest["copy_of"] != ""
        assert manifest[copied][["id", "copy_of"]].to_numpy().tolist() == [[name, "00.png"] for name in COPIES[1:]]
        groups = manifest["group"].where(manifest["group"] != "", manifest["id"].where(~copied, "00.png"))
        train = manifest["part"] == "train"
        for split in (train, folds(manifest, 5, seed), validation_positions(manifest, seed) < 0.2):
            assert (split.groupby(groups).nunique() == 1).all()
        expected = [["within_training", name, "00.png"] for name in COPIES[1:]] if train[0] else []
        assert found.leaks[["kind", "id", "other"]].to_numpy().tolist() == expected
        assert found.leaks["distance"].between(0, leaks.THRESHOLD).all()


# --- the stage


def test_the_stage_stops_at_leaks_but_not_at_copies_within_training(ingest_stage, tmp_path, pool, params):
    params["seed"] = next(seed for seed in range(9) if len(ingest("folder", pool, 0.25, seed).leaks))
    said = ingest_stage(source="folder", path=str(pool), leaks="stop")
    counted = "identical 0, near_identical 0, two_labels 0, group 0, within_training 4"
    assert f"leaks and copies, listed in data/ingest/study/leaks.csv: {counted}" in said

    write_copies(tmp_path / "cells", label="BNE")
    (tmp_path / "cells/train/LY/bad.png").touch()
    said = ingest_stage(path="cells", leaks="report")
    assert "study: 1 training and 1 test images of 2 classes, 4 rejected" in said
    assert "rejected: empty file: 1 rejected: same image under two labels: 3" in said
    written = json.loads(Path("data/ingest/study.json").read_text())
    assert written == {"train": 1, "test": 1, "rejected": 4, "copies": 3}
    with pytest.raises(UserError, match=r"study/leaks\.csv lists leaks: two_labels 3; take these images out, or set"):
        ingest_stage(leaks="stop")
    lengths = {name: len(pd.read_csv(f"data/ingest/study/{name}.csv")) for name in ("manifest", "rejects", "leaks")}
    assert lengths == {"manifest": 2, "rejects": 4, "leaks": 3}


def test_the_stage_says_that_a_set_has_lost_its_grey_levels(ingest_stage, tmp_path):
    put(tmp_path / "raw", *(f"{'SNE' if i % 2 else 'LY'}/{i}.png" for i in range(40)))
    line = "at most 16 grey levels, so bits may have been lost before: images 3, of 40"
    for dark in range(4):
        assert (line in ingest_stage(source="folder", path="raw")) == (dark == 3)
        path = tmp_path / f"raw/LY/{2 * dark}.png"
        Image.fromarray(np.array(Image.open(path)) // 16).save(path)
