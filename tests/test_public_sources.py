"""Public sets, drawn in the layouts of their archives. Several sources at once."""

import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from study import ROOT
from wbc.config.files import ConfigError
from wbc.config.resolve import complete, resolve
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.dataset.ingest import ingest
from wbc.dataset.public import SETS
from wbc.dataset.split import folds as dealt
from wbc.sources import UNUSED, SourceError, scan, scan_all
from wbc.sources.wbcbench_hf import COLUMNS
from wbc.synthetic import draw


def pixels(name, mode="RGB"):
    """A small image whose content depends on its name."""
    rng = np.random.default_rng(list(name.encode()))
    return Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).convert(mode)


def put(root, *names, mode="RGB"):
    """Image files in the format that their suffix means."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels(name, mode).save(root / name)


def labels(scanned):
    return {item.id: item.label for item in scanned.items}


# --- the table and its document


def test_the_table_has_every_public_source_and_no_label_of_another_name():
    for name, public in SETS.items():
        assert (ROOT / f"wbc/sources/{name}.py").exists()
        assert {label.ours for label in public.labels.values()} <= {*CLASSES, ""}
        counts = [label.images for label in public.labels.values()]
        assert None in counts or sum(counts) == public.images


# --- PBC

PBC = [
    "basophil/BA_100102.jpg",
    "eosinophil/EO_676281.jpg",
    "erythroblast/ERB_507848.jpg",
    "platelet/PLATELET_38734.jpg",
]
PBC += ["lymphocyte/LY_301320.jpg", "monocyte/MO_254452.jpg", "ig/MMY_677451.jpg", "ig/MY_1.jpg", "ig/PMY_2.jpg"]
PBC += ["ig/IG_3.jpg", "neutrophil/BNE_436569.jpg", "neutrophil/SNE_4.jpg", "neutrophil/NEUTROPHIL_507371.jpg"]
PBC += ["lymphocyte/odd_name.jpg"]  # in these folders the prefix says nothing


@pytest.mark.parametrize("below", ["", "PBC_dataset_normal_DIB/", "PBC_dataset_normal_DIB/PBC_dataset_normal_DIB/"])
def test_pbcs_folder_is_the_label_and_in_two_of_them_the_prefix_too(tmp_path, below):
    put(tmp_path / below, *PBC)
    (tmp_path / below / "neutrophil/.DS_169665.jpg").write_bytes(b"Bud1")
    (tmp_path / "__MACOSX/neutrophil").mkdir(parents=True)
    (tmp_path / "__MACOSX/neutrophil/SNE_4.jpg").write_bytes(b"a resource fork")
    scanned = scan("pbc", tmp_path)
    expected = {name: name.split("/")[1].split("_")[0] for name in PBC if not name.startswith(("er", "pl"))}
    expected |= {"lymphocyte/odd_name.jpg": "LY"}
    assert labels(scanned) == {name: label for name, label in expected.items() if label in CLASSES}
    assert scanned.left_out == {"erythroblast": 1, "ig/IG": 1, "neutrophil/NEUTROPHIL": 1, "platelet": 1}
    assert scanned.difference["lymphocyte"] == 2 - 1214
    assert sum(scanned.difference.values()) == len(PBC) - 17092
    assert {item.group for item in scanned.items} == {""}


def test_a_whole_archive_differs_in_nothing(tmp_path, monkeypatch):
    counts = Counter(name.split("/")[0] for name in PBC)
    few = {label: known._replace(images=counts[label]) for label, known in SETS["pbc"].labels.items()}
    few |= {f"ig/{label}": few[f"ig/{label}"]._replace(images=1) for label in ("MMY", "MY", "PMY", "IG")}
    few |= {f"neutrophil/{of}": few[f"neutrophil/{of}"]._replace(images=1) for of in ("SNE", "BNE", "NEUTROPHIL")}
    monkeypatch.setitem(SETS, "pbc", SETS["pbc"]._replace(labels=few))
    put(tmp_path, *PBC)
    assert scan("pbc", tmp_path).difference == {}
    assert len(ingest("pbc", tmp_path, 0.4, 1, strict=True).manifest) == 10
    put(tmp_path, "ig/MY_7.jpg")
    assert scan("pbc", tmp_path).difference == {"ig/MY": 1}


# --- AML_LMU

LMU = {"NGS": "SNE", "NGB": "BNE", "MYB": "MY", "MYO": "BL", "MOB": "BL", "LYA": "VLY", "PMO": "PMY"}
LMU |= {"EBO": "", "KSC": "", "PMB": ""}


@pytest.fixture
def lmu(tmp_path):
    """The archive with two images of some classes, RGBA as there, one of them with a transparent border."""
    root = tmp_path / "raw/PKG - AML-Cytomorphology_LMU"
    names = [f"{code}/{code}_{n:04}.tiff" for code in LMU for n in (1, 2)]
    put(root / "AML-Cytomorphology", *names, mode="RGBA")
    bordered = np.full((8, 8, 4), (200, 60, 60, 255), np.uint8)
    bordered[0] = 0
    Image.fromarray(bordered).save(root / "AML-Cytomorphology/NGS/NGS_0001.tiff")
    lines = [f"{name} {name[:3]} {'nan nan' if n % 2 else 'MYO NGS'}" for n, name in enumerate(names)]
    (root / "annotations.dat").write_text("\n".join(lines) + "\n")
    return tmp_path / "raw"


def annotated(root, change):
    table = next(root.rglob("annotations.dat"))
    table.write_text(change(table.read_text()))


def test_lmus_original_annotation_is_the_label_whatever_the_second_one_says(lmu):
    scanned = scan("aml_lmu", lmu)
    assert labels(scanned) == {f"{code}/{code}_{n:04}.tiff": ours for code, ours in LMU.items() for n in (1, 2) if ours}
    assert scanned.left_out == {"EBO": 2, "KSC": 2, "PMB": 2}
    assert scanned.difference["MYB"] == -40
    found = ingest("aml_lmu", lmu, 0.25, 1)
    assert found.rejects.empty  # RGBA is laid over white
    annotated(lmu, lambda text: text.replace(" nan nan", ""))
    assert labels(scan("aml_lmu", lmu)) == labels(scanned)


def test_what_lmus_list_and_folders_do_not_share_is_said(lmu):
    annotated(lmu, lambda text: text.replace("0002.tiff MYB", "0002.tiff MYO") + "NGS/NGS_0009.tiff NGS nan nan\n")
    put(next(lmu.rglob("MYO")), "MYO_0100.tiff")
    scanned = scan("aml_lmu", lmu)
    faults = {item.id: item.fault for item in scanned.items if item.fault}
    assert faults == {
        "MYB/MYB_0002.tiff": "annotation contradicts the folder: MYO in MYB",
        "NGS/NGS_0009.tiff": "no such file",
    }
    assert scanned.left_out == {"EBO": 2, "KSC": 2, "PMB": 2, UNUSED: 1}
    assert (scanned.difference["MYO"], scanned.difference["NGS"]) == (2 - 3268, 2 - 8484)
    rejects = ingest("aml_lmu", lmu, 0.25, 1).rejects
    assert rejects["reason"].tolist() == ["annotation contradicts the folder", "no such file"]


# --- MLL23


def test_mll23s_folder_is_the_label(tmp_path):
    names = ["neutrophil_band/a.tif", "plasma_cell/b.tif", "lymphocyte_reactive/c.TIF", "hairy_cell/d.tif"]
    put(tmp_path, *names)
    put(tmp_path / "lymphocyte", "lymphocyte/a.tif")  # unpacked into a folder of its own
    (tmp_path / "__MACOSX/plasma_cell").mkdir(parents=True)
    (tmp_path / "__MACOSX/plasma_cell/._b.tif").touch()
    (tmp_path / "plasma_cell.zip").touch()  # it may stay beside the folder
    scanned = scan("mll23", tmp_path)
    assert labels(scanned) == {
        "lymphocyte/a.tif": "LY",
        "lymphocyte_reactive/c.TIF": "VLY",
        "neutrophil_band/a.tif": "BNE",
        "plasma_cell/b.tif": "PC",
    }
    assert scanned.left_out == {"hairy_cell": 1}
    assert scanned.difference["basophil"] == -616
    (tmp_path / "basophil.zip").touch()
    with pytest.raises(SourceError, match=r"not unpacked: basophil\.zip; unpack each"):
        scan("mll23", tmp_path)


# --- APL_AML


def test_apls_signed_folder_is_the_label_and_its_patient_the_group(tmp_path):
    put(
        tmp_path / "archive",
        "Patient_00/Signed slides/Lymphocyte, variant/VLY_1.jpg",
        "Patient_00/Signed slides/Band neutrophils/SNE_2.jpg",  # the analyser's guess
        "Patient_105/Signed slides/Promonocyte/PMO_3.jpg",
        "Patient_105/Signed slides/Blast, no lineage spec/BL_4.jpg",
        "Patient_105/Signed slides/Prolymphocyte/PLY_1.jpg",
        "Patient_105/Unsigned slides/Whatever/BL_5.jpg",
        "Patient_105/Unsigned slides/BL_6.jpg",
    )
    (tmp_path / "archive/master.csv").touch()
    scanned = scan("apl_aml", tmp_path)
    assert [(item.id, item.label, item.group) for item in scanned.items] == [
        ("Patient_00/Band neutrophils/SNE_2.jpg", "BNE", "Patient_00"),
        ("Patient_00/Lymphocyte, variant/VLY_1.jpg", "VLY", "Patient_00"),
        ("Patient_105/Blast, no lineage spec/BL_4.jpg", "BL", "Patient_105"),
        ("Patient_105/Prolymphocyte/PLY_1.jpg", "PLY", "Patient_105"),
    ]
    assert scanned.left_out == {"Promonocyte": 1, "unsigned slide": 2}
    assert scanned.difference == {}  # how many there are is printed nowhere


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Patient_1/Lymphocyte/LY_1.jpg", "expected below Patient_<n>/Signed slides or Unsigned slides"),
        ("Signed slides/Lymphocyte/LY_1.jpg", "expected below Patient_<n>/Signed slides or Unsigned slides"),
        ("Patient_1/Signed slides/LY_1.jpg", "expected Patient_<n>/Signed slides/<class>/<name>"),
        ("Patient_1/Signed slides/Lymphocyte/2/LY_1.jpg", "expected Patient_<n>/Signed slides/<class>/<name>"),
        ("Patient_1/Signed slides/Lymphocite/LY_1.jpg", r"unknown label 'Lymphocite' \(1×\); apl_aml has Segm"),
    ],
)
def test_what_is_not_apls_archive_stops(tmp_path, name, message):
    put(tmp_path, "Patient_0/Signed slides/Monocyte/MO_1.jpg", name)
    with pytest.raises(SourceError, match=message):
        scan("apl_aml", tmp_path)


# --- several sources


@pytest.fixture
def several(tmp_path):
    """PBC and MLL23 with drawn cells; MLL23 has one of PBC's again, its bytes, and another smaller and saved anew."""
    rng = np.random.default_rng(5)

    def cell(label, name):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        image = draw(label, 96, rng)[0]
        Image.fromarray(image).save(tmp_path / "raw" / name)
        return image

    for n in range(8):
        cell("LY", f"pbc/lymphocyte/LY_{n}.jpg")
        cell("LY", f"mll23/lymphocyte/{n}.tif")
        cell("MO", f"pbc/monocyte/MO_{n}.jpg")
        cell("PC", f"mll23/plasma_cell/{n}.tif")
    shutil.copy(tmp_path / "raw/pbc/lymphocyte/LY_0.jpg", tmp_path / "raw/mll23/lymphocyte/same.jpg")
    image = np.asarray(Image.open(tmp_path / "raw/pbc/lymphocyte/LY_1.jpg"))
    Image.fromarray(cv2.resize(image, (80, 80), interpolation=cv2.INTER_AREA)).save(
        tmp_path / "raw/mll23/lymphocyte/small.tif"
    )
    return tmp_path / "raw"


COPIES = {
    "mll23/lymphocyte/same.jpg": "pbc/lymphocyte/LY_0.jpg",
    "mll23/lymphocyte/small.tif": "pbc/lymphocyte/LY_1.jpg",
}


def test_each_of_several_sources_lies_below_its_name_and_bears_it(several):
    put(several / "mll23", "smudge_cell/1.tif")
    pbc, mll23, _ = scan_all(["pbc", "mll23"], several)
    assert {item.id.partition("/")[0] for item in pbc.items} == {"pbc"}
    assert "mll23/lymphocyte/0.tif" in labels(mll23)
    assert mll23.left_out == {"mll23/smudge_cell": 1}
    assert mll23.difference["mll23/hairy_cell"] == -3265
    (alone,) = scan_all("pbc", several / "pbc")
    assert [f"pbc/{item.id}" for item in alone.items] == [item.id for item in pbc.items]


def test_patients_of_two_sources_that_are_called_alike_are_two(tmp_path):
    write_csv(
        tmp_path / "folder/labels.csv", ["ID", "labels", "group"], [("a.png", "LY", "Patient_1"), ("b.png", "LY", "")]
    )
    put(tmp_path / "folder/images", "a.png", "b.png")
    put(tmp_path / "apl_aml", "Patient_1/Signed slides/Monocyte/MO_1.jpg")
    items = [item for one in scan_all(["folder", "apl_aml"], tmp_path) for item in one.items]
    assert [item.group for item in items] == ["folder/Patient_1", "", "apl_aml/Patient_1"]


def test_copies_in_two_sources_stay_on_one_side_of_what_is_held_back(several):
    held = set()
    for seed in range(12):
        found = ingest(["pbc", "mll23"], several, 0.3, seed)
        assert found.rejects.empty
        parts = found.manifest.set_index("id")["part"]
        copies = found.manifest.set_index("id")["copy_of"]
        assert set(copies[copies != ""].index) == set(COPIES) or set(copies[copies != ""]) == set(COPIES)
        fold = dealt(found.manifest, 3, seed)
        fold.index = found.manifest["id"]
        for copy, of in COPIES.items():
            assert parts[copy] == parts[of]
            assert fold[copy] == fold[of]
            held.add(parts[of])
        assert found.leaks["kind"].isin(["within_training"]).all()
        assert set(parts[parts == "test"].index.str.partition("/").get_level_values(0)) == {"pbc", "mll23"}
    assert held == {"train", "test"}
    assert found.notes["in_one_source"] == {"MO": "pbc", "PC": "mll23"}


def test_a_copy_of_what_another_source_tests_is_rejected_and_its_own_parts_are_left(several, monkeypatch):
    """`folder` has a test part: a cell of PBC's twice, and one that it trains on itself, which is its own business."""
    for part, name in (("test", "seen.png"), ("test", "own.png"), ("train", "own.png"), ("train", "new.png")):
        source = "pbc/lymphocyte/LY_0.jpg" if name == "seen.png" else None
        (several / "folder" / part / "LY").mkdir(parents=True, exist_ok=True)
        image = Image.open(several / source) if source else Image.fromarray(draw("LY", 96, rng_of(name))[0])
        image.save(several / "folder" / part / "LY" / name)
    found = ingest(["pbc", "mll23", "folder"], several, 0.3, 1)
    assert found.rejects.to_numpy().tolist() == [
        ["pbc/lymphocyte/LY_0.jpg", "copy of another source's test image", "folder/test/LY/seen.png"],
        ["mll23/lymphocyte/same.jpg", "copy of another source's test image", "folder/test/LY/seen.png"],
    ]
    parts = found.manifest.set_index("id")["part"]
    assert set(parts[parts == "test"].index) == {"folder/test/LY/seen.png", "folder/test/LY/own.png"}
    assert found.leaks.loc[found.leaks["kind"] != "within_training", ["kind", "id"]].to_numpy().tolist() == [
        ["identical", "folder/test/LY/own.png"]
    ]
    assert found.manifest["copy_of"].isin(["", *found.manifest["id"]]).all()
    for name in ("pbc", "mll23"):
        uncounted = {label: known._replace(images=None) for label, known in SETS[name].labels.items()}
        monkeypatch.setitem(SETS, name, SETS[name]._replace(labels=uncounted))
    with pytest.raises(SourceError, match=r"'pbc/lymphocyte/LY_0\.jpg': copy of another source's test image: folder"):
        ingest(["pbc", "mll23", "folder"], several, 0.3, 1, strict=True)


def rng_of(name):
    return np.random.default_rng(list(name.encode()))


def test_each_of_several_folders_may_be_a_link(several, tmp_path):
    (tmp_path / "linked").mkdir()
    for name in ("pbc", "mll23"):
        (tmp_path / "linked" / name).symlink_to(several / name)
    found = ingest(["pbc", "mll23"], tmp_path / "linked", 0.3, 1)
    assert found.rejects.empty
    (several / "mll23/lymphocyte/out.jpg").symlink_to(several / "pbc/lymphocyte/LY_3.jpg")
    assert ingest(["pbc", "mll23"], several, 0.3, 1).rejects["reason"].tolist() == ["link out of the folder"]


# --- settings and the stage


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["pbc", "mll2"], r"data\.source = 'mll2': allowed: .*; did you mean 'mll23'\?"),
        (["pbc", "pbc"], r"data\.source = \['pbc', 'pbc'\]: one is listed twice"),
        (["pbc"], r"data\.source = \['pbc'\]: a list has two sources or more; one is its name alone"),
        (["pbc", "synthetic"], r"data\.source = .*: synthetic is drawn into a folder of its own and stands alone"),
        ([["pbc"]], r"data\.source = \['pbc'\]: allowed: "),
    ],
)
def test_sources_are_checked(params, source, message):
    params["data"]["source"] = source
    with pytest.raises(ConfigError, match=message):
        resolve(params)


def test_a_missing_folder_of_one_of_several_is_named(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params["data"]["source"] = ["pbc", "mll23"]
    (tmp_path / "data/raw/pbc").mkdir(parents=True)
    resolved = resolve(params)
    with pytest.raises(ConfigError, match=r"data\.path = 'data/raw': no folder 'mll23' there"):
        complete(resolved, [row["model"]["name"] for row in resolved.values() if "model" in row])
    assert resolved["report"]["source"] == ["pbc", "mll23"]


def test_the_stage_says_what_is_left_out_and_which_classes_one_source_alone_has(ingest_stage, several):
    put(several / "mll23", "smudge_cell/1.tif")
    said = ingest_stage(source=["pbc", "mll23"], path=str(several))
    assert " left out: mll23/smudge_cell 1 " in said
    assert "in one source only, so a network may learn the laboratory instead: MO pbc, PC mll23 " in said
    assert "fewer if negative: pbc/neutrophil/SNE -1646, " in said
    assert f"pbc/lymphocyte {8 - 1214}, " in said


def test_the_stage_says_what_a_licence_forbids(ingest_stage, tmp_path):
    write_csv(tmp_path / "raw/wbcbench_hf/labels.csv", COLUMNS, [(n, "LY", f"p{n}", "", "", "") for n in range(8)])
    put(tmp_path / "raw/wbcbench_hf/images", *(f"{n}.png" for n in range(8)))
    said = ingest_stage(source="wbcbench_hf", path="raw/wbcbench_hf")
    assert said.startswith("wbcbench_hf: its licence, CC BY-NC 4.0, forbids commercial use, passing the images on")
