"""Every file below data.path is used, rejected, left out or counted, and no patient is in both parts unsaid."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from wbc.config.schema import SOURCES
from wbc.core.errors import UserError
from wbc.dataset.ingest import ingest, ingest_external
from wbc.dataset.listing import MISSING
from wbc.sources import SourceError, scan


def put(root, *names, format=None):
    """Images whose content depends on their names, in the format that the suffix means."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (8, 8, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format or Image.registered_extensions()[Path(name).suffix.lower()])
        (root / name).write_bytes(buffer.getvalue())


def write(root, *files):
    for name, text in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def table(*rows, header="ID,labels"):
    return "\n".join([header, *rows, ""])


IDS = [f"{n}.png" for n in range(4)]
IMAGES = [f"images/{id}" for id in IDS]
LISTED = table(*(f"{id},LY" for id in IDS))
SIGNED = [f"Patient_{n}/Signed slides/Lymphocyte/LY_{n}.jpg" for n in range(4)]
LMU = [f"LYT/LYT_000{n}.tiff" for n in range(4)]
LAYOUTS = {  # of each source: images, and files of text
    "folder": (["train/LY/a.png", "train/SNE/b/c/a.JPG", "Test/LY/a.jfif", "val/LY/a.png", "more/LY/a.png"], []),
    "synthetic": ([*IMAGES, "images/4.png", "masks/0.png", "5.png"], [("labels.csv", LISTED)]),
    "kaggle": ([*IMAGES, "images/4.png", "5.png"], [("train.csv", LISTED), ("submission.csv", table("4.png,LY"))]),
    "wbcbench": (
        [*IMAGES, "4.png"],
        [(f"{name}.csv", LISTED) for name in ("phase1_label", "phase2_train", "phase2_eval")],
    ),
    "wbcbench_hf": (
        [*IMAGES, "images/4.png"],
        [("labels.csv", table(*(f"{id},LY" for id in IDS), header="ID,labels,group,split,severity,original"))],
    ),
    "pbc": ([f"pbc/{label}/{label}_{n}.jpg" for label in ("lymphocyte", "platelet") for n in range(4)], []),
    "aml_lmu": ([*LMU, "LYT/LYT_0009.tiff"], [("annotations.dat", "".join(f"{name} LYT\n" for name in LMU))]),
    "mll23": (
        [f"{label}/{n}.tif" for label in ("lymphocyte", "hairy_cell") for n in range(4)],
        [("hairy_cell.zip", "")],
    ),
    "apl_aml": ([*SIGNED, "Patient_9/Unsigned slides/x/LY_1.jpg"], []),
}
REJECTED = ("odd/pic.webp", "odd/broken.gif", "odd/scan")  # what looks like an image in any place


def spoiled(root):
    put(root, "odd/pic.webp")
    put(root, "odd/scan", format="JPEG")
    write(root, ("odd/broken.gif", ""), ("notes.txt", "x"), ("README", "x"), ("box.xml", "x"), ("cell.0001", "x"))
    write(root, (".DS_Store", "x"), ("__MACOSX/LY/._a.jpg", "x"), (".git/a.png", "x"))


def accounted(found):
    return (
        len(found.manifest)
        + len(found.rejects)
        + sum(sum(found.notes.get(n, {}).values()) for n in ("left_out", "other"))
    )


def files(root):
    return sum(len(names) for _, _, names in os.walk(root))


def test_every_source_is_tried():
    assert LAYOUTS.keys() == set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_used_rejected_left_out_and_other_files_are_all_files(tmp_path, source):
    images, texts = LAYOUTS[source]
    put(tmp_path, *images)
    write(tmp_path, *texts)
    spoiled(tmp_path)
    found = ingest(source, tmp_path, 0.4, 1)
    repeats = 8 if source == "wbcbench" else 0  # rows that name a file again
    assert accounted(found) == files(tmp_path) + repeats
    assert {*REJECTED} <= set(found.rejects["name"])
    assert found.notes["other"].items() >= {".txt": 1, ".xml": 1, "no suffix": 2, "hidden": 3}.items()
    home, hashes = pd.DataFrame({"id": []}, dtype=str), np.zeros((0, 4), np.uint64)
    assert accounted(ingest_external(source, tmp_path, home, hashes)) == files(tmp_path) + repeats


def test_files_beside_the_folders_of_several_sources_are_counted_too(tmp_path):
    for source in ("pbc", "mll23"):
        put(tmp_path / source, *LAYOUTS[source][0])
    spoiled(tmp_path)
    put(tmp_path, "folder/LY/a.png")
    found = ingest(["pbc", "mll23"], tmp_path, 0.4, 1)
    assert found.notes["left_out"]["in no folder of these sources"] == 4
    assert accounted(found) == files(tmp_path)


def test_a_class_folders_whole_depth_is_used_and_its_first_folder_is_the_label(tmp_path):
    put(
        tmp_path,
        "TRAIN/LY/a.png",
        "TRAIN/LY/P1/b.JPE",
        "Test/SNE/P1/images/c.jfif",
        "Test/SNE/P1/masks/c.png",
        "Valid/LY/d.png",
    )
    found = ingest("folder", tmp_path, 0.4, 1)
    assert found.manifest[["id", "label", "part", "group"]].to_numpy().tolist() == [
        ["TRAIN/LY/P1/b.JPE", "LY", "train", ""],
        ["TRAIN/LY/a.png", "LY", "train", ""],
        ["Test/SNE/P1/images/c.jfif", "SNE", "test", ""],
    ]
    assert found.rejects.to_numpy().tolist() == [
        ["Valid/LY/d.png", "validation part", "it is drawn from the training images; make it train or test"]
    ]
    assert found.notes == {"other": {"mask": 1}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images/x.png", "1 images are neither listed nor in a class folder, the first 'images/x.png'; list them or"),
        ("x.jpg", "the first 'x.jpg'"),
        ("images/x.webp", "'images/x.webp': unknown suffix: '.webp'; known: "),
    ],
)
def test_strict_stops_at_an_image_that_is_not_used(tmp_path, name, message):
    put(tmp_path, *IMAGES)
    write(tmp_path, ("labels.csv", LISTED), ("notes.txt", "x"))
    assert len(ingest("folder", tmp_path, 0.4, 1, strict=True).manifest) == 4
    put(tmp_path, name)
    with pytest.raises(SourceError) as error:
        ingest("folder", tmp_path, 0.4, 1, strict=True)
    assert message in str(error.value)


# --- links


def test_links_inside_are_followed_and_others_are_rejected_with_what_to_do(tmp_path):
    root, outside = tmp_path / "raw", tmp_path / "outside"
    put(root, *(f"LY/{n}.png" for n in range(4)))
    put(outside, "x.png", "SNE/y.png")
    links = {"inside": root / "LY/0.png", "out": outside / "x.png", "nothing": "gone.png", "itself": "itself.png"}
    for name, target in links.items():
        (root / f"LY/{name}.png").symlink_to(target)
    (root / "SNE").symlink_to(outside / "SNE")
    found = ingest("folder", root, 0.4, 1)
    assert "LY/inside.png" in set(found.manifest["id"])
    assert found.rejects.to_numpy().tolist() == [
        ["LY/itself.png", "unreadable file", "Too many levels of symbolic links"],
        ["LY/nothing.png", "unreadable file", "No such file or directory"],
        ["LY/out.png", "link out of the folder", "not followed; copy the file here, or make data.path itself a link"],
        ["SNE", "link to a folder", "not entered; put the folder itself here, or make data.path a link"],
    ]


# --- the manifest


def test_the_manifest_says_the_same_wherever_the_repository_lies(tmp_path, monkeypatch, ingest_stage):
    put(tmp_path / "cells", *IMAGES, "masks/0.png")
    write(tmp_path / "cells", ("labels.csv", LISTED))
    (tmp_path / "linked").symlink_to(tmp_path / "cells")
    for path in ("data/raw", str(tmp_path / "cells"), str(tmp_path / "linked")):
        manifests = set()
        for place in ("repository", "a/throw-away/copy/of/it"):
            raw = tmp_path / place / "data/raw"
            raw.parent.mkdir(parents=True, exist_ok=True)
            if not raw.exists():
                raw.symlink_to(tmp_path / "cells")
            monkeypatch.chdir(tmp_path / place)
            ingest_stage(source="folder", path=path)
            manifests.add(Path("data/ingest/study/manifest.csv").read_text())
        (manifest,) = manifests
        assert f"{path}/images/0.png," in manifest


# --- what a list lacks, and patients


@pytest.mark.parametrize("spelling", [*MISSING, "  ", "NaN", "None", "NULL", "<NA>", "N/A"])
def test_one_rule_says_what_is_missing_in_any_column(tmp_path, spelling):
    put(tmp_path, *IMAGES)
    rows = [f"{id},LY,{spelling},{spelling}" for id in IDS[:3]] + [f"3.png,{spelling},,", f"{spelling},LY,,"]
    write(tmp_path, ("labels.csv", table(*rows, header="ID,labels,part,group")))
    found = ingest("folder", tmp_path, 0.4, 1)
    assert found.manifest["group"].tolist() == [""] * 3
    assert set(found.manifest["part"]) == {"train", "test"}
    assert found.rejects.to_numpy().tolist() == [["3.png", "no label", ""], ["labels.csv, row 5", "no id", ""]]


def test_an_image_may_be_called_as_what_is_missing(tmp_path):
    put(tmp_path, "images/NA.png", *IMAGES)
    write(tmp_path, ("labels.csv", LISTED + "NA,LY\n"))
    assert "NA" in set(ingest("folder", tmp_path, 0.4, 1).manifest["id"])


def test_a_patient_in_both_parts_is_a_leak_that_stops(tmp_path, ingest_stage):
    put(tmp_path / "data/raw", *(f"images/{n}.png" for n in range(8)))
    patients = ["Train,a", "train,b", "TEST,a", "test,c", "train,a", "test,a", "train,", "test,"]
    rows = [f"{n}.png,LY,{row}" for n, row in enumerate(patients)]
    write(tmp_path / "data/raw", ("labels.csv", table(*rows, header="ID,labels,part,group")))
    leaks = ingest("folder", tmp_path / "data/raw", 0.4, 1).leaks
    assert leaks[["kind", "id", "other"]].to_numpy().tolist() == [
        ["group", "2.png", "0.png"],
        ["group", "5.png", "0.png"],
    ]
    with pytest.raises(UserError, match=r"data/ingest/study/leaks\.csv lists leaks: group 2; take these images out"):
        ingest_stage(source="folder", leaks="stop")


def test_apls_session_folders_are_read(tmp_path):
    session = "Patient_100/2018-01-02_10-11-12/Signed slides/Lymphocyte/LY_1.jpg"
    put(tmp_path, *SIGNED, session, session.replace("-12/", "-13/"), session.replace("Signed", "Unsigned"))
    scanned = scan("apl_aml", tmp_path)
    assert [(item.id, item.group) for item in scanned.items if item.group == "Patient_100"] == [
        (f"Patient_100/2018-01-02_10-11-{second}/Lymphocyte/LY_1.jpg", "Patient_100") for second in (12, 13)
    ]
    assert scanned.left_out == {"unsigned slide": 1}


# --- classify


def test_a_folder_has_the_images_that_are_read_one_by_one(tmp_path):
    from wbc.cli.classify import find_images

    put(tmp_path, "a.jfif", "b.webp", "c.PNG")
    put(tmp_path, "d", format="JPEG")
    write(tmp_path, ("notes.txt", "x"), (".e.png", "x"))
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.jfif", "b.webp", "c.PNG", "d"]
    assert find_images([str(tmp_path / "*")]) == find_images([str(tmp_path)])
