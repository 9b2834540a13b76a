"""Each layout in, manifest out; whatever is wrong with it is named."""

import os
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.full_size import POOL
from wbc.classes import CLASSES, TABLE_1
from wbc.data import leaks
from wbc.data.ingest import ingest
from wbc.data.leaks import across_parts, fingerprint, two_labels
from wbc.data.listing import ListError, parse
from wbc.data.sources import SourceError, scan
from wbc.data.split import held_back
from wbc.data.synthetic import draw
from wbc.errors import UserError
from wbc.io import write_csv


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


def add(root, *lines):
    with (root / "labels.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def found(root, source="folder", **options):
    return ingest(source, root, 0.25, 1, **options)


def reasons(root, **options):
    return {(r.name, r.reason, r.detail) for r in found(root, **options).rejects.itertuples(index=False)}


# --- layouts


def test_wbcbench_joins_its_labelled_lists_and_divides_the_pool_anew(archives):
    manifest, rejects, found_leaks = found(archives["wbcbench"], "wbcbench")
    assert rejects.empty
    assert found_leaks.empty
    assert set(zip(manifest["width"], manifest["height"], strict=True)) == {(368, 370)}
    assert manifest["label"].value_counts().to_dict() == {"SNE": 24, "LY": 12, "BNE": 6, "PLY": 1}
    held = manifest[manifest["part"] == "test"]
    assert held["label"].value_counts().to_dict() == {"SNE": 6, "LY": 3, "BNE": 2}  # 43 × 0.25 is 11 images
    assert not any("phase2/test" in path for path in manifest["path"])


def test_wbcbench_says_which_list_is_missing(archives, tmp_path):
    shutil.copytree(archives["wbcbench"], tmp_path / "raw")
    (tmp_path / "raw" / "phase2_eval.csv").unlink()
    with pytest.raises(ListError, match=r"phase2_eval\.csv: No such file"):
        scan("wbcbench", tmp_path / "raw")


def test_a_part_held_back_leaves_table_1_class_by_class():
    labels = [label for label, count in POOL.items() for _ in range(count)]
    ids = [str(i) for i in range(len(labels))]
    pool = pd.DataFrame({"id": ids, "sha256": ids, "label": labels})
    for seed in (1, 205):
        train = pool[~held_back(pool, 0.25, seed)]
        assert train["label"].value_counts().to_dict() == TABLE_1


def test_a_single_image_is_not_held_back_whatever_the_share():
    pool = pd.DataFrame({"id": list("abcdefghij"), "sha256": list("abcdefghij"), "label": ["PLY", *["LY"] * 9]})
    held = held_back(pool, 0.6, 1)
    assert not held[0]  # though its 0.4 of a seat in training loses against the 0.6 that LY has left
    assert held.sum() == 5


def test_kaggles_test_part_is_the_samples_in_its_order(archives, tmp_path):
    manifest, rejects, _ = found(archives["kaggle"], "kaggle")
    test = manifest[manifest["part"] == "test"]
    assert rejects.empty
    assert test["id"].tolist() == ["00000502", "00000501", "00000500"]
    assert set(test["label"]) == {""}  # the sample's labels are placeholders
    train = manifest[manifest["part"] == "train"]
    assert train["label"].value_counts().to_dict() == {"SNE": 12, "LY": 6, "BL": 4, "PLY": 1}
    shutil.copytree(archives["kaggle"], tmp_path / "raw")
    (tmp_path / "raw" / "sample_submission.csv").unlink()
    manifest, rejects, _ = found(tmp_path / "raw", "kaggle")
    assert rejects.empty
    assert manifest.loc[manifest["part"] == "test", "id"].tolist() == ["00000500", "00000501", "00000502"]


def test_kaggle_neither_guesses_between_lists_nor_does_without(tmp_path):
    put(tmp_path / "a.png")
    with pytest.raises(SourceError, match="no CSV file with 'train' in its name"):
        scan("kaggle", tmp_path)
    for name in ("train.csv", "train_old.csv"):
        write_csv(tmp_path / name, ["ID", "labels"], [("a", "SNE")])
    with pytest.raises(SourceError, match=r"both train\.csv and train_old\.csv"):
        scan("kaggle", tmp_path)


def test_a_link_to_the_whole_folder_is_followed(archives, tmp_path):
    (tmp_path / "raw").symlink_to(archives["wbcbench"])
    assert found(tmp_path / "raw", "wbcbench").rejects.empty


def test_class_folders_with_and_without_parts(tmp_path):
    put(tmp_path / "LY" / "a.png")
    put(tmp_path / "LY" / "._a.png")
    put(tmp_path / "LY" / "notes.txt")
    assert [(i.id, i.label, i.part) for i in scan("folder", tmp_path)] == [("LY/a.png", "LY", "")]
    put(tmp_path / "train" / "SNE" / "b.png")
    put(tmp_path / "test" / "SNE" / "c.png")
    items = [(i.id, i.label, i.part) for i in scan("folder", tmp_path)]
    assert items == [("train/SNE/b.png", "SNE", "train"), ("test/SNE/c.png", "SNE", "test")]


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


# --- lists


@pytest.mark.parametrize(
    "content",
    [
        "ID,labels,part\na,SNE,train\nb c.jpg,,test\n".encode("utf-8-sig"),
        b"ID;labels;part\r\na;SNE;train\r\nb c.jpg;;test\r\n",
        b"part\tlabels\tID\rtrain\tSNE\ta\rtest\t\tb c.jpg\r",
        b'"ID",labels,note, part \n a , SNE ,"x,y",train\n\n,,,\nb c.jpg,NaN,,test,,\n',
    ],
    ids=["byte-order mark", "semicolons, CRLF", "tabs, CR, other order", "quotes, blanks, other columns"],
)
def test_a_list_is_read_whatever_wrote_it(tmp_path, content):
    put(tmp_path / "images" / "a.png")
    put(tmp_path / "images" / "b c.jpg")
    (tmp_path / "labels.csv").write_bytes(content)
    manifest, rejects, _ = found(tmp_path)
    assert manifest[["id", "label", "part"]].to_numpy().tolist() == [["a", "SNE", "train"], ["b c.jpg", "", "test"]]
    assert rejects.empty


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'ID'"),
        (b"name,class\n", "no column 'ID'; the first line must have ID,labels, as written here"),
        (b"ID,Labels\na,SNE\n", "no column 'labels'"),
        (b"ID,labels,labels\na,SNE,LY\n", "more than one column 'labels'"),
        (b"ID,labels\na,SNE,LY\n", "line 2 has 3 values for 2 columns; is a comma unquoted?"),
        (b'ID,labels\na,"SNE\nb,LY\n', "not a CSV file in UTF-8: unexpected end of data"),
        ("ID,labels\n".encode("utf-16"), "not a CSV file in UTF-8"),
    ],
)
def test_a_list_that_cannot_be_meant_stops_with_one_line(content, said):
    with pytest.raises(ListError) as error:
        parse(content, "x.csv", ["ID", "labels"])
    assert str(error.value).startswith("x.csv: ")
    assert said in str(error.value)


def test_names_may_hold_blanks_and_accents_in_either_spelling(tmp_path):
    put(tmp_path / "images" / "cellule e\u0301tale\u0301e 1.png")  # as macOS writes it
    put(tmp_path / "images" / "白血球.png")
    rows = [("cellule étalée 1", "SNE", "train"), ("白血球.png", "LY", "test")]
    write_csv(tmp_path / "labels.csv", ["ID", "labels", "part"], rows)
    assert len(found(tmp_path).manifest) == 2


# --- rejects


def test_what_a_list_says_wrong_is_rejected_by_name_and_reason(listed):
    put(listed / "images" / "a" / "cell.png")
    put(listed / "images" / "b" / "cell.png", 1)
    put(listed / "images" / "twin.png")
    put(listed / "images" / "twin.jpg")
    absolute = (listed / "images" / "001.png").resolve()
    add(listed, "000.png,SNE", ",SNE", "twin,LY", f"{absolute},SNE", "../images/002.png,SNE", "C:\\x.png,SNE")
    add(listed, "nowhere,SNE", "003,SNE", "004.png,LY", "b/cell.png,sne", "twin.png,", "twin.jpg,Lymphocyte")
    add(listed, "cell.png,LY", "a/cell.png,LY")
    expected = {
        ("000.png", "duplicate id", ""),
        ("labels.csv, row 26", "no id", ""),
        ("twin", "ambiguous", "twin.jpg or twin.png"),
        (str(absolute), "absolute path", ""),
        ("C:\\x.png", "absolute path", ""),
        ("../images/002.png", "path outside the folder", ""),
        ("nowhere", "no such file", ""),
        ("003", "same file as another id", "003.png"),
        ("004.png", "id under two labels", "LY, SNE"),
        ("cell.png", "ambiguous", "a/cell.png or b/cell.png"),
        ("b/cell.png", "unknown label", "'sne'; did you mean 'SNE'?"),
        ("twin.png", "no label", ""),
        ("twin.jpg", "unknown label", f"'Lymphocyte'; known: {', '.join(CLASSES)}"),
    }
    assert reasons(listed) == expected
    assert len(found(listed).manifest) == 24 - 1 + 1  # 004.png is not, a/cell.png is


def test_what_a_file_is_wrong_in_is_rejected_by_name_and_reason(listed):
    images = listed / "images"
    (images / "001.png").write_bytes(b"")
    (images / "002.png").write_bytes(b"hello")
    (images / "003.png").write_bytes((images / "003.png").read_bytes()[:100])
    outside = listed.parent / "outside.png"
    put(outside)
    for name, target in (("004.png", outside), ("005.png", "gone.png"), ("006.png", "006.png")):
        (images / name).unlink()
        (images / name).symlink_to(target)
    (images / "007.png").unlink()
    os.mkfifo(images / "007.png")
    rejected = {name: (reason, detail) for name, reason, detail in reasons(listed)}
    assert rejected.pop("003.png")[0] == "unreadable image"
    assert rejected == {
        "001.png": ("empty file", ""),
        "002.png": ("not a JPEG, PNG, BMP, TIFF image", ""),
        "004.png": ("path outside the folder", ""),
        "005.png": ("unreadable file", "No such file or directory"),
        "006.png": ("unreadable file", "Too many levels of symbolic links"),
        "007.png": ("not a file", ""),
    }


def test_a_name_that_is_not_utf_8_is_rejected_in_words_that_can_be_written(tmp_path):
    for i in range(4):
        put(tmp_path / "LY" / f"{i}.png")
    shutil.copy(tmp_path / "LY" / "0.png", os.fsencode(tmp_path / "LY") + b"/\xff.png")
    table = found(tmp_path).rejects
    assert table.to_numpy().tolist() == [["LY/\\udcff.png", "name is not UTF-8", ""]]
    write_csv(tmp_path / "rejects.csv", table.columns, table.itertuples(index=False))


def test_a_part_of_another_name_is_rejected(tmp_path):
    parts = ("train", "test", "validation")
    for name in parts:
        put(tmp_path / "images" / f"{name}.png")
    write_csv(tmp_path / "labels.csv", ["ID", "labels", "part"], [(part, "SNE", part) for part in parts])
    assert reasons(tmp_path) == {("validation", "unknown part", "'validation' is neither train nor test")}


def test_strict_stops_at_the_first_and_says_what_to_do(listed):
    add(listed, "nowhere,SNE")
    with pytest.raises(SourceError, match=r"'nowhere': no such file; mend it or take it out, or set data\.strict"):
        found(listed, strict=True)
    put(listed / "images" / "nowhere.png")
    assert len(found(listed, strict=True).manifest) == 25
    shutil.copy(listed / "images" / "000.png", listed / "images" / "020.png")  # SNE and LY
    with pytest.raises(SourceError, match=r"'000\.png': same image under two labels: 020\.png; mend it"):
        found(listed, strict=True)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda root: root / "nowhere", "no such folder; data.path must hold labels.csv and images/"),
        (lambda root: root, "no images; expected labels.csv and images/, or a folder per class"),
        (lambda root: write_csv(root / "labels.csv", ["ID", "labels"], []) or root, "labels.csv needs one beside it"),
    ],
)
def test_a_source_without_images_says_what_is_expected(tmp_path, prepare, said):
    with pytest.raises(SourceError, match=said):
        found(prepare(tmp_path))


def test_a_folder_that_may_not_be_read_is_no_empty_folder(listed, monkeypatch):
    def forbidden(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", forbidden)  # root, who may read everything, runs the tests too
    with pytest.raises(PermissionError):
        scan("folder", listed)


def test_nothing_usable_gives_the_first_reason(listed):
    write_csv(listed / "labels.csv", ["ID", "labels"], [("000.png", "sne")])
    with pytest.raises(
        SourceError, match=r"no usable labelled training image among 1 images; first reason: '000\.png'"
    ):
        found(listed)


def test_a_test_part_of_which_nothing_is_usable_is_not_replaced_by_training_images(listed):
    write_csv(listed / "labels.csv", ["ID", "labels", "part"], [("000.png", "SNE", ""), ("nowhere", "SNE", "test")])
    with pytest.raises(SourceError, match="no usable test image; first reason: 'nowhere': no such file"):
        found(listed)


def test_a_share_too_small_to_hold_anything_back_says_so(listed):
    with pytest.raises(SourceError, match=r"data\.test_fraction = 0\.01 holds back none of 24 images"):
        ingest("folder", listed, 0.01, 1)


# --- odd but usable


def test_images_of_all_sizes_and_kinds_are_taken(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    colour, grey = Image.fromarray(noise), Image.fromarray(noise[..., 0])
    images = {
        "grey.png": grey,
        "bits.png": grey.convert("1"),
        "deep.png": Image.fromarray(noise[..., 0].astype(np.uint16) * 257),
        "palette.png": colour.quantize(16),
        "clear.png": colour.convert("RGBA"),
        "grey-clear.png": grey.convert("LA"),
        "print.jpg": colour.convert("CMYK"),
        "dot.png": colour.resize((1, 1)),
        "poster.png": Image.new("L", (8000, 8000), 200),
    }
    for name, image in images.items():
        (tmp_path / "LY").mkdir(exist_ok=True)
        image.save(tmp_path / "LY" / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    colour.save(tmp_path / "LY" / "turned.jpg", exif=exif)
    manifest, rejects, _ = found(tmp_path)
    assert rejects.empty
    sizes = {row.id: (row.width, row.height) for row in manifest.itertuples()}
    assert sizes == {f"LY/{name}": image.size for name, image in images.items()} | {"LY/turned.jpg": (20, 30)}


def test_one_image_in_a_class_trains_and_a_class_may_miss_in_either_part(tmp_path):
    for i in range(7):
        put(tmp_path / "pool" / "LY" / f"{i}.png", i)
    put(tmp_path / "pool" / "PLY" / "x.png")
    manifest = found(tmp_path / "pool").manifest
    assert manifest.groupby("part")["label"].value_counts().to_dict() == {
        ("test", "LY"): 2,
        ("train", "LY"): 5,
        ("train", "PLY"): 1,
    }
    for label, part in (("SNE", "train"), ("LY", "test")):
        put(tmp_path / "parts" / part / label / "a.png", len(label))
    assert found(tmp_path / "parts").manifest[["label", "part"]].to_numpy().tolist() == [
        ["SNE", "train"],
        ["LY", "test"],
    ]


# --- leaks


def copies(root, label="SNE"):
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
    table = found(copies(tmp_path)).leaks
    assert table.drop(columns="distance").to_numpy().tolist() == [
        ["near_identical", "test/SNE/again.jpg", "train/SNE/cell.png"],
        ["identical", "test/SNE/same.png", "train/SNE/cell.png"],
    ]
    assert 0 <= table["distance"].max() <= leaks.THRESHOLD


def test_one_image_under_two_labels_is_rejected_on_both_sides_and_reported(tmp_path):
    copies(tmp_path, label="BNE")
    result = found(tmp_path)
    pair = ["test/SNE/same.png", "train/BNE/cell.png"]
    assert result.rejects["name"].tolist() == sorted(pair, reverse=True)
    assert set(result.rejects["reason"]) == {"same image under two labels"}
    assert set(result.leaks["kind"]) == {"two_labels"}
    assert result.leaks[["id", "other"]].to_numpy().tolist() == [pair[::-1], pair]
    assert not set(pair) & set(result.manifest["id"])


def test_an_unlabelled_copy_contradicts_no_label():
    manifest = pd.DataFrame({"id": ["a", "b"], "sha256": ["x", "x"], "label": ["SNE", ""]})
    assert two_labels(manifest).empty


def test_different_cells_of_one_class_are_far_apart_and_changed_copies_close():
    rng = np.random.default_rng(0)
    cells = [draw("LY", 128, rng)[0] for _ in range(30)]
    prints = np.array([fingerprint(cell) for cell in cells])
    between = np.bitwise_count(prints[:, None] ^ prints[None]).sum(-1)[np.triu_indices(30, 1)]
    assert between.min() > 2 * leaks.THRESHOLD
    for cell, own in zip(cells, prints, strict=True):
        compressed = cv2.imdecode(cv2.imencode(".jpg", cell, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR)
        brighter = np.clip(cell * 1.05 + 5, 0, 255).astype(np.uint8)
        for copy in (compressed, brighter, cv2.resize(cell, (96, 100))):
            assert np.bitwise_count(fingerprint(copy) ^ own).sum() <= leaks.THRESHOLD


def test_parts_without_images_have_no_leaks():
    manifest = pd.DataFrame({"id": ["a"], "sha256": ["x"], "label": ["SNE"], "part": ["train"]})
    assert across_parts(manifest, np.zeros((1, 4), np.uint64)).empty
    assert across_parts(manifest[:0], np.zeros((0, 4), np.uint64)).empty


# --- the stage


@pytest.fixture
def stage(tmp_path, monkeypatch, params):
    """Runs the ingest stage's `main` in an empty folder with settings of `data`; then json and tables lie there."""
    from ruamel.yaml import YAML

    from stages.ingest import main
    from wbc.config import resolve

    monkeypatch.chdir(tmp_path)

    def run(**data):
        params["data"] |= data
        (tmp_path / "configs").mkdir(exist_ok=True)
        with (tmp_path / "configs/data.yaml").open("w") as file:
            YAML().dump(resolve(params)["data"], file)
        main()
        return pd.read_json(tmp_path / "metrics/ingest.json", typ="series")

    return run


def test_the_stage_counts_reasons_and_leaks_and_stops_at_leaks_if_told_to(stage, tmp_path):
    copies(tmp_path / "raw", label="BNE")
    (tmp_path / "raw/train/LY/bad.png").touch()
    metrics = stage(source="folder", path="raw")
    assert metrics["reasons"] == {"empty file": 1, "same image under two labels": 2}
    assert metrics["leaks"] == {"identical": 0, "near_identical": 0, "two_labels": 2}
    assert (metrics["train"], metrics["test"], metrics["rejected"]) == (1, 2, 3)
    assert "table_1" not in metrics
    assert len(pd.read_csv(tmp_path / "data/rejects.csv")) == 3
    with pytest.raises(UserError, match=r"data/leaks\.csv lists leaks: two_labels 2; take these images out, or set"):
        stage(leaks="stop")
    assert len(pd.read_csv(tmp_path / "data/leaks.csv")) == 2


def test_the_stage_says_whether_the_pool_is_the_reports(stage, archives):
    assert stage(source="wbcbench", path=str(archives["wbcbench"]))["table_1"] is False
