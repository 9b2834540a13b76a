"""Every file below data.path is used, rejected, left out or counted, and no patient is in both parts unnoticed."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pictures import put, write
from wbc.config.schema import SOURCES
from wbc.core.errors import UserError
from wbc.dataset.ingest import ingest, ingest_external
from wbc.dataset.listing import MISSING
from wbc.sources.wbcbench import LISTS


def table(*rows, header="ID,labels"):
    return "\n".join([header, *rows, ""])


IDS = [f"{n}.png" for n in range(4)]
IMAGES = [f"images/{id}" for id in IDS]
LIST = table(*(f"{id},LY" for id in IDS))
HF = table(*(f"{id},LY" for id in IDS), header="ID,labels,group,split,severity,original")
LMU = [f"LYT/LYT_000{n}.tiff" for n in range(4)]
SIGNED = [f"Patient_{n}/Signed slides/Lymphocyte/LY_{n}.jpg" for n in range(4)]
LAYOUTS = {  # by source, images and files of text
    "folder": (["train/LY/a.png", "train/SNE/b/c/a.JPG", "Test/LY/a.jfif", "val/LY/a.png", "more/LY/a.png"], {}),
    "synthetic": ([*IMAGES, "images/4.png", "masks/0.png", "5.png"], {"labels.csv": LIST}),
    "kaggle": ([*IMAGES, "images/4.png"], {"train.csv": LIST, "submission.csv": table("4.png,LY")}),
    "wbcbench": ([*IMAGES, "4.png"], dict.fromkeys(LISTS, LIST)),
    "wbcbench_hf": ([*IMAGES, "images/4.png"], {"labels.csv": HF}),
    "pbc": ([f"pbc/{label}/{label}_{n}.jpg" for label in ("lymphocyte", "platelet") for n in range(4)], {}),
    "aml_lmu": ([*LMU, "LYT/LYT_0009.tiff"], {"annotations.dat": "".join(f"{name} LYT\n" for name in LMU)}),
    "mll23": ([f"{label}/{n}.tif" for label in ("monocyte", "hairy_cell") for n in range(4)], {"hairy_cell.zip": ""}),
    "apl_aml": ([*SIGNED, "Patient_9/Unsigned slides/x/LY_1.jpg"], {}),
}


def spoil(root):
    """Add three files that look like images, four others and three hidden ones."""
    put(root, "odd/pic.webp")
    put(root, "odd/scan", format="JPEG")
    write(root / "odd", {"broken.gif": ""})
    write(root, {"notes.txt": "x", "README": "x", "box.xml": "x", "cell.0001": "x", ".DS_Store": "x"})
    put(root, "__MACOSX/LY/._a.jpg", ".git/a.png")


def accounted(found):
    counts = (sum(found.notes.get(note, {}).values()) for note in ("left_out", "other"))
    return len(found.manifest) + len(found.rejects) + sum(counts)


def number_of_files(root):
    return sum(len(names) for _, _, names in os.walk(root))


@pytest.mark.parametrize("source", SOURCES)
def test_used_rejected_left_out_and_other_files_are_all_files(tmp_path, source):
    images, texts = LAYOUTS[source]
    put(tmp_path, *images)
    write(tmp_path, texts)
    spoil(tmp_path)
    found = ingest(source, tmp_path, 0.4, 1)
    repeats = 8 if source == "wbcbench" else 0  # rows that name a file again
    assert accounted(found) == number_of_files(tmp_path) + repeats
    assert {"odd/pic.webp", "odd/broken.gif", "odd/scan"} <= set(found.rejects["name"])
    assert found.notes["other"].items() >= {".txt": 1, ".xml": 1, "no suffix": 2, "hidden": 3}.items()
    study, hashes = pd.DataFrame({"id": []}, dtype=str), np.zeros((0, 4), np.uint64)
    assert accounted(ingest_external(source, tmp_path, study, hashes)) == number_of_files(tmp_path) + repeats


def test_files_beside_the_folders_of_several_sources_are_counted_too(tmp_path):
    for source in ("pbc", "mll23"):
        put(tmp_path / source, *LAYOUTS[source][0])
    spoil(tmp_path)
    put(tmp_path, "folder/LY/a.png")
    found = ingest(["pbc", "mll23"], tmp_path, 0.4, 1)
    assert found.notes["left_out"]["in no folder of these sources"] == 4
    assert accounted(found) == number_of_files(tmp_path)


def test_the_first_folder_is_the_class_whatever_lies_below(tmp_path):
    put(tmp_path, "TRAIN/LY/a.png", "TRAIN/LY/P1/b.JPE", "Test/SNE/P1/images/c.jfif", "Test/SNE/P1/masks/c.png")
    put(tmp_path, "Valid/LY/d.png")
    found = ingest("folder", tmp_path, 0.4, 1)
    assert found.manifest[["id", "label", "part", "group"]].to_numpy().tolist() == [
        ["TRAIN/LY/P1/b.JPE", "LY", "train", ""],
        ["TRAIN/LY/a.png", "LY", "train", ""],
        ["Test/SNE/P1/images/c.jfif", "SNE", "test", ""],
    ]
    assert found.rejects[["name", "reason"]].to_numpy().tolist() == [["Valid/LY/d.png", "validation part"]]
    assert found.notes == {"other": {"mask": 1}}


def test_the_manifest_does_not_depend_on_where_the_repository_lies(tmp_path, monkeypatch, ingest_stage):
    put(tmp_path / "cells", *IMAGES, "masks/0.png")
    write(tmp_path / "cells", {"labels.csv": LIST})
    for path in ("data/raw", str(tmp_path / "cells")):
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


@pytest.mark.parametrize("spelling", [*MISSING, "  ", "NaN", "NA"])
def test_one_rule_says_what_is_missing_in_any_column(tmp_path, spelling):
    put(tmp_path, *IMAGES, "images/NA.png")
    rows = [f"{id},LY,{spelling},{spelling}" for id in IDS[:3]] + [f"3.png,{spelling},,", f"{spelling},LY,,"]
    write(tmp_path, {"labels.csv": table(*rows, header="ID,labels,part,group")})
    found = ingest("folder", tmp_path, 0.4, 1)
    assert set(found.manifest["group"]) == {""}
    assert set(found.manifest["part"]) == {"train", "test"}
    no_id = [["labels.csv, row 5", "no id", ""]] if spelling != "NA" else []  # an image may be called so
    assert found.rejects.to_numpy().tolist() == [["3.png", "no label", ""], *no_id]


def test_a_patient_in_both_parts_is_a_leak_that_stops(tmp_path, ingest_stage):
    put(tmp_path / "data/raw", *(f"images/{n}.png" for n in range(8)))
    patients = ["Train,a", "train,b", "TEST,a", "test,c", "train,a", "test,a", "train,", "test,"]
    rows = [f"{n}.png,LY,{row}" for n, row in enumerate(patients)]
    write(tmp_path / "data/raw", {"labels.csv": table(*rows, header="ID,labels,part,group")})
    leaks = ingest("folder", tmp_path / "data/raw", 0.4, 1).leaks
    assert leaks[["kind", "id", "other"]].to_numpy().tolist() == [["group", id, "0.png"] for id in ("2.png", "5.png")]
    with pytest.raises(UserError, match=r"data/ingest/study/leaks\.csv lists leaks: group 2; take these images out"):
        ingest_stage(source="folder", leaks="stop")
