"""Each layout in, manifest out. What becomes of bad input is in test_bad_input.py."""

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

from wbc.core.classes import TABLE_1
from wbc.core.errors import UserError
from wbc.core.io import write_csv
from wbc.dataset import leaks
from wbc.dataset.images import decode
from wbc.dataset.ingest import ingest
from wbc.dataset.leaks import copies, copy_of, label_conflicts, near_copies, perceptual_hash
from wbc.dataset.split import draw_test_part, folds, validation_positions
from wbc.sources import scan
from wbc.synthetic import draw

POOL = {  # labelled images per class of WBCBench 2026: 38,535
    "SNE": 17354, "LY": 10801, "MO": 3661, "BL": 2683, "EO": 1148, "MY": 588, "BA": 554, "BNE": 522, "VLY": 488,
    "MMY": 480, "PMY": 152, "PC": 90, "PLY": 14,
}  # fmt: skip


def put(path, value=0):
    """A small image whose content depends on its name and on `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([value, *path.name.encode()])
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path, format="PNG")


@pytest.fixture
def listed(tmp_path):
    """A source with labels.csv, 20 SNE and 4 LY, no test part."""
    root = tmp_path / "raw"
    rows = [(f"{i:03}.png", "SNE" if i < 20 else "LY") for i in range(24)]
    for i, (id, _) in enumerate(rows):
        put(root / "images" / id, i)
    write_csv(root / "labels.csv", ["ID", "labels"], rows)
    return root


def found(root, source="folder", **options):
    return ingest(source, root, 0.25, 1, **options)


# --- layouts


def test_wbcbench_joins_its_labelled_lists_and_divides_the_pool_anew(archives):
    result = found(archives("wbcbench"), "wbcbench")
    manifest, rejects, found_leaks = result.manifest, result.rejects, result.leaks
    assert rejects.empty
    assert found_leaks.empty
    assert set(zip(manifest["width"], manifest["height"], strict=True)) == {(368, 370)}
    assert manifest["label"].value_counts().to_dict() == {"SNE": 24, "LY": 12, "BNE": 6, "PLY": 1}
    held = manifest[manifest["part"] == "test"]
    assert held["label"].value_counts().to_dict() == {"SNE": 6, "LY": 3, "BNE": 2}  # 43 × 0.25 is 11 images
    assert not any("phase2/test" in path for path in manifest["path"])


def test_a_part_held_back_leaves_table_1_class_by_class():
    labels = [label for label, count in POOL.items() for _ in range(count)]
    ids = [str(i) for i in range(len(labels))]
    pool = pd.DataFrame({"id": ids, "sha256": ids, "label": labels, "group": "", "copy_of": ""})
    for seed in (1, 205):
        train = pool[~draw_test_part(pool, 0.25, seed)]
        assert train["label"].value_counts().to_dict() == TABLE_1


def test_a_single_image_is_not_held_back_whatever_the_share():
    pool = pd.DataFrame({"id": list("abcdefghij"), "label": ["PLY", *["LY"] * 9]})
    pool = pool.assign(sha256=pool["id"], group="", copy_of="")
    held = draw_test_part(pool, 0.6, 1)
    assert not held[0]  # though its 0.4 of a seat in training loses against the 0.6 that LY has left
    assert held.sum() == 5


def test_kaggles_test_part_is_the_samples_in_its_order(archives, tmp_path):
    result = found(archives("kaggle"), "kaggle")
    manifest, rejects = result.manifest, result.rejects
    test = manifest[manifest["part"] == "test"]
    assert rejects.empty
    assert test["id"].tolist() == ["00000502", "00000501", "00000500"]
    assert set(test["label"]) == {""}  # the sample's labels are placeholders
    train = manifest[manifest["part"] == "train"]
    assert train["label"].value_counts().to_dict() == {"SNE": 12, "LY": 6, "BL": 4, "PLY": 1}
    shutil.copytree(archives("kaggle"), tmp_path / "raw")
    (tmp_path / "raw" / "sample_submission.csv").unlink()
    result = found(tmp_path / "raw", "kaggle")
    manifest, rejects = result.manifest, result.rejects
    assert rejects.empty
    assert manifest.loc[manifest["part"] == "test", "id"].tolist() == ["00000500", "00000501", "00000502"]


def test_a_link_to_the_whole_folder_is_followed(archives, tmp_path):
    (tmp_path / "raw").symlink_to(archives("wbcbench"))
    assert found(tmp_path / "raw", "wbcbench").rejects.empty


def test_a_quarter_is_held_back_whatever_the_names_and_order(listed):
    manifest = found(listed).manifest
    assert manifest[manifest["part"] == "test"]["label"].value_counts().to_dict() == {"SNE": 5, "LY": 1}
    held = set(manifest[manifest["part"] == "test"]["sha256"])
    rows = pd.read_csv(listed / "labels.csv").iloc[::-1]
    for path in sorted((listed / "images").iterdir()):
        path.rename(path.with_name("z" + path.name))
    rows["ID"] = "z" + rows["ID"]
    rows.to_csv(listed / "labels.csv", index=False)
    again = found(listed).manifest
    assert set(again[again["part"] == "test"]["sha256"]) == held
    other = ingest("folder", listed, 0.25, 2).manifest
    assert set(other[other["part"] == "test"]["sha256"]) != held


# --- rejects


def test_each_reject_bears_the_name_that_its_source_gives_it(listed):
    for n, folder in enumerate("ab"):
        put(listed / f"images/{folder}/cell.png", n)
    odd = ["../images/002.png", "", "nowhere", "cell.png", "b/none.png"]
    with (listed / "labels.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{id},SNE\n" for id in [*odd, "a/cell.png", "000.png"])
    (listed / "images/001.png").write_bytes(b"")
    result = found(listed)
    manifest, rejects = result.manifest, result.rejects
    odd[1] = "labels.csv, row 26"
    assert rejects["name"].tolist() == ["001.png", *odd, "000.png"]
    assert rejects.set_index("name").loc["cell.png"].tolist() == ["ambiguous", "a/cell.png or b/cell.png"]
    assert set(manifest["id"]) >= {"000.png", "a/cell.png"}
    assert len(manifest) == 24


def test_a_folder_that_may_not_be_read_is_no_empty_folder(listed, monkeypatch):
    def forbidden(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", forbidden)  # root, who may read everything, runs the tests too
    with pytest.raises(PermissionError):
        scan("folder", listed)


# --- leaks


def copied(root, label="SNE"):
    """A training cell, in the test part the same bytes and the same picture saved again, and cells of their own."""
    rng = np.random.default_rng(3)
    image, _ = draw("SNE", 128, rng)
    files = {
        f"train/{label}/cell.png": image,
        "train/LY/other.png": draw("LY", 128, rng)[0],
        "test/SNE/same.png": image,
        "test/SNE/again.jpg": cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA),
        "test/SNE/own.png": draw("SNE", 128, rng)[0],
    }
    for name, pixels in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    return root


def test_a_test_image_seen_in_training_is_reported_beside_it(tmp_path):
    table = found(copied(tmp_path)).leaks
    assert table.drop(columns="distance").to_numpy().tolist() == [
        ["near_identical", "test/SNE/again.jpg", "train/SNE/cell.png"],
        ["identical", "test/SNE/same.png", "train/SNE/cell.png"],
    ]
    assert 0 <= table["distance"].max() <= leaks.THRESHOLD


def test_one_image_under_two_labels_is_rejected_on_both_sides_and_reported(tmp_path):
    """Whether its bytes are the same or it was saved again."""
    copied(tmp_path, label="BNE")
    result = found(tmp_path)
    again, same, cell = "test/SNE/again.jpg", "test/SNE/same.png", "train/BNE/cell.png"
    assert set(result.rejects["name"]) == {again, same, cell}
    assert set(result.rejects["reason"]) == {"same image under two labels"}
    assert set(result.leaks["kind"]) == {"two_labels"}
    listed = result.leaks.set_index("id")
    assert listed["other"].to_dict() == {again: cell, same: cell, cell: same}
    assert (listed.loc[[same, cell], "distance"] == 0).all()
    assert 0 < listed.loc[again, "distance"] <= leaks.THRESHOLD
    assert not {again, same, cell} & set(result.manifest["id"])


def test_a_copy_contradicts_another_label_if_it_is_near_labelled_and_not_blank():
    rng = np.random.default_rng(0)
    bits = np.repeat(rng.random((4, 256)) < 0.4, 2, axis=0)
    bits[1, :16] ^= True  # near
    bits[3, :17] ^= True  # too far
    bits[4:6] = False
    bits[4, :3] = True  # blank, and its bytes are not the other's
    manifest = pd.DataFrame({"id": [*"abcdefgh"], "sha256": [*"stuvwxyz"], "label": ["SNE", "LY"] * 3 + ["SNE", ""]})
    expected = [("two_labels", "a", "b", 16), ("two_labels", "b", "a", 16)]
    prints = np.packbits(bits, axis=1).view(np.uint64)
    assert list(label_conflicts(manifest, prints).itertuples(index=False, name=None)) == expected
    manifest.loc[[4, 5], "sha256"] = "same"
    expected += [("two_labels", "e", "f", 3), ("two_labels", "f", "e", 3)]
    assert list(label_conflicts(manifest, prints).itertuples(index=False, name=None)) == expected


@pytest.mark.skipif("WBC_REAL_DATA" not in os.environ, reason="WBC_REAL_DATA names no folder that holds pbc/")
def test_real_cells_are_all_accounted_for_and_only_copies_contradict_each_other():
    root = Path(os.environ["WBC_REAL_DATA"], "pbc")
    result = ingest("pbc", root, 0.25, 1)
    manifest, rejects, prints, notes = result.manifest, result.rejects, result.hashes, result.notes
    images = [path for path in root.rglob("*.jpg") if not path.name.startswith(".")]
    assert len(manifest) + len(rejects) + sum(notes["left_out"].values()) == len(images)
    assert set(rejects["reason"]) <= {"same image under two labels"}
    of = manifest["path"].drop_duplicates()[::20]
    again = [cv2.imencode(".jpg", cv2.imread(path), [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes() for path in of]
    copied = pd.DataFrame({"id": "copy of " + manifest["id"][of.index], "sha256": of, "label": "PLY"})
    prints = np.concatenate([prints, [perceptual_hash(decode(content)) for content in again]])
    assert label_conflicts(manifest, prints[: len(manifest)]).empty
    found = label_conflicts(pd.concat([manifest, copied], ignore_index=True), prints).set_index("id")["other"]
    assert found[copied["id"]].tolist() == manifest["id"][of.index].tolist()


def test_different_cells_of_one_class_are_far_apart_and_changed_copies_close():
    rng = np.random.default_rng(0)
    cells = [draw("LY", 128, rng)[0] for _ in range(30)]
    prints = np.array([perceptual_hash(cell) for cell in cells])
    between = np.bitwise_count(prints[:, None] ^ prints[None]).sum(-1)[np.triu_indices(30, 1)]
    assert between.min() > 2 * leaks.THRESHOLD
    for cell, own in zip(cells, prints, strict=True):
        compressed = cv2.imdecode(cv2.imencode(".jpg", cell, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)
        brighter = np.clip(cell * 1.05 + 5, 0, 255).astype(np.uint8)
        for copy in (compressed, brighter, cv2.resize(cell, (96, 100))):
            assert np.bitwise_count(perceptual_hash(copy) ^ own).sum() <= leaks.THRESHOLD


def test_parts_without_images_have_no_copies():
    manifest = pd.DataFrame({"id": ["a"], "sha256": ["x"], "label": ["SNE"], "part": ["train"], "copy_of": [""]})
    for some in (manifest, manifest[:0]):
        prints = np.zeros((len(some), 4), np.uint64)
        assert copy_of(some["id"], prints).tolist() == [""] * len(some)
        assert copies(some, prints).empty


@pytest.fixture
def prints():
    """2,000 hashes, 300 of them others with 1 to 20 bits turned, and 40 with all that they have at the rim.

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


def first_alike(cluster):
    """For each, the place of the first that has its number: the same however the clusters are numbered."""
    return [cluster.tolist().index(number) for number in cluster]


def test_no_near_copy_is_missed_and_none_invented(prints):
    near = np.bitwise_count(prints[:, None] ^ prints[None]).sum(2) <= leaks.THRESHOLD
    expected = connected_components(near)[1]
    assert len(np.unique(expected)) < len(prints) - 300
    assert first_alike(near_copies(prints)) == first_alike(expected)
    for few in range(4):
        assert len(near_copies(prints[:few])) == few


def test_few_pairs_are_compared_at_all(prints, monkeypatch):
    compared = []

    def counting(difference):
        compared.append(len(difference))
        return bitwise_count(difference)

    bitwise_count = np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", counting)
    near_copies(prints)
    assert sum(compared) < 10 * len(prints)  # all pairs would be 1,000 for each


def test_many_copies_of_one_image_are_joined_without_a_list_of_their_pairs():
    bits = np.zeros((3000, 256), bool)
    rng = np.random.default_rng(0)
    for hash in bits:
        hash[rng.permutation(256)[:8]] = True
    prints = np.packbits(bits, axis=1).view(np.uint64)
    tracemalloc.start()
    try:
        assert len(np.unique(near_copies(prints))) == 1
        assert tracemalloc.get_traced_memory()[1] < 3000**2 / 2  # a byte for each pair
    finally:
        tracemalloc.stop()


@pytest.fixture
def pool(tmp_path):
    """Cells of two classes, without a test part and with three patients; four are copies of the first: its bytes twice,
    saved again, and brighter and smaller.
    """
    root, rng = tmp_path / "raw", np.random.default_rng(4)
    (root / "images").mkdir(parents=True)
    cells = [draw("SNE" if i < 24 else "LY", 128, rng)[0] for i in range(36)]
    rows = []
    for i, cell in enumerate(cells):
        name = f"{i:02}.png"
        Image.fromarray(cell).save(root / "images" / name)
        rows.append((name, "SNE" if i < 24 else "LY", f"patient {i // 10}" if 4 < i < 30 else ""))
    for name in ("same.png", "again.png"):
        shutil.copy(root / "images/00.png", root / "images" / name)
    Image.fromarray(cells[0]).save(root / "images/saved.jpg", quality=70)
    small = cv2.resize(np.clip(cells[0] * 1.05 + 5, 0, 255).astype(np.uint8), (96, 96), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(root / "images/small.png")
    rows += [(name, "SNE", "") for name in COPIES[1:]]
    write_csv(root / "labels.csv", ["ID", "labels", "group"], rows)
    return root


COPIES = ["00.png", "same.png", "again.png", "saved.jpg", "small.png"]


def test_copies_and_patients_keep_to_one_part_fold_and_side_of_the_validation(pool):
    for seed in range(10):
        result = ingest("folder", pool, 0.25, seed)
        manifest, table = result.manifest, result.leaks
        assert manifest["label"].groupby(manifest["part"]).value_counts()["test"].to_dict() == {"SNE": 7, "LY": 3}
        copied = manifest["copy_of"] != ""
        assert manifest[copied][["id", "copy_of"]].to_numpy().tolist() == [[name, "00.png"] for name in COPIES[1:]]
        groups = manifest["group"].where(manifest["group"] != "", manifest["id"].where(~copied, "00.png"))
        train = manifest["part"] == "train"
        for split in (train, folds(manifest, 5, seed), validation_positions(manifest, seed) < 0.2):
            assert (split.groupby(groups).nunique() == 1).all()
        listed = table[["kind", "id", "other"]].to_numpy().tolist()
        whole = manifest.set_index("id")["part"]["00.png"] == "train"
        assert listed == [["within_training", name, "00.png"] for name in COPIES[1:]] * whole
        assert table["distance"].between(0, leaks.THRESHOLD).all()


# --- the stage


def test_the_stage_stops_at_leaks_but_not_at_copies_within_training(ingest_stage, tmp_path, pool, params):
    for seed in (1, 2, 3, 4):  # one of which has them in training
        params["seed"] = seed
        said = ingest_stage(source="folder", path=str(pool), leaks="stop")
        if "within_training" in said:
            break
    counted = "identical 0, near_identical 0, two_labels 0, group 0, within_training 4"
    assert f"leaks and copies, listed in data/ingest/study/leaks.csv: {counted}" in said

    copied(tmp_path / "cells", label="BNE")
    (tmp_path / "cells/train/LY/bad.png").touch()
    said = ingest_stage(path="cells", leaks="report")
    assert "study: 1 training and 1 test images of 2 classes, 4 rejected" in said
    assert "rejected: empty file: 1 rejected: same image under two labels: 3" in said
    written = json.loads(Path("data/ingest/study.json").read_text())
    assert written == {"train": 1, "test": 1, "rejected": 4, "copies": 3}
    with pytest.raises(UserError, match=r"study/leaks\.csv lists leaks: two_labels 3; take these images out, or set"):
        ingest_stage(leaks="stop")
    tables = [pd.read_csv(f"data/ingest/study/{name}.csv") for name in ("manifest", "rejects", "leaks")]
    assert [len(table) for table in tables] == [2, 4, 3]


def test_the_stage_says_that_a_set_has_lost_its_grey_levels(ingest_stage, tmp_path):
    for i in range(40):
        put(tmp_path / f"raw/{'SNE' if i % 2 else 'LY'}/{i}.png")
    line = "at most 16 grey levels, so bits may have been lost before: images 3, of 40"
    for dark in range(4):
        assert (line in ingest_stage(source="folder", path="raw")) == (dark == 3)
        path = tmp_path / f"raw/LY/{2 * dark}.png"
        Image.fromarray(np.array(Image.open(path)) // 16).save(path)


def test_the_stage_says_whether_the_pool_is_the_reports(ingest_stage, archives):
    said = ingest_stage(source="wbcbench", path=str(archives("wbcbench")))
    assert "the training part differs from the report's Table 1" in said
