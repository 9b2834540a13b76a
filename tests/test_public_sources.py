"""Public sets in the layouts of their archives, and several sources at once."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from pictures import put, save, write
from study import ROOT
from wbc.config.files import ConfigError
from wbc.config.resolve import complete, resolve
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.dataset.ingest import ingest
from wbc.dataset.public import SETS, Label
from wbc.dataset.split import folds
from wbc.sources import UNUSED, SourceError, scan, scan_all
from wbc.sources.wbcbench_hf import COLUMNS
from wbc.synthetic import draw


def labels(scanned):
    return {item.id: item.label for item in scanned.items}


def test_the_table_has_every_public_source_and_no_label_of_another_name():
    for name, public in SETS.items():
        assert (ROOT / f"wbc/sources/{name}.py").exists()
        assert {label.ours for label in public.labels.values()} <= {*CLASSES, ""}
        counts = [label.images for label in public.labels.values()]
        assert None in counts or sum(counts) == public.images


# --- layouts

PBC = {"basophil/BA_1.jpg": "BA", "eosinophil/EO_2.jpg": "EO", "erythroblast/ERB_3.jpg": "", "platelet/P_4.jpg": ""}
PBC |= {"lymphocyte/LY_5.jpg": "LY", "lymphocyte/odd.jpg": "LY", "monocyte/MO_6.jpg": "MO", "ig/MMY_7.jpg": "MMY"}
PBC |= {"ig/MY_8.jpg": "MY", "ig/PMY_9.jpg": "PMY", "ig/IG_3.jpg": "", "neutrophil/BNE_1.jpg": "BNE"}
PBC |= {"neutrophil/SNE_4.jpg": "SNE", "neutrophil/NEUTROPHIL_5.jpg": ""}  # by image, our class


@pytest.mark.parametrize("below", ["", "PBC_dataset_normal_DIB/", "PBC_dataset_normal_DIB/PBC_dataset_normal_DIB/"])
def test_pbcs_label_is_the_folder_and_in_two_of_them_the_prefix_too(tmp_path, below):
    put(tmp_path / below, *PBC, "neutrophil/.DS_169665.jpg")
    put(tmp_path, "__MACOSX/neutrophil/SNE_4.jpg")
    scanned = scan("pbc", tmp_path)
    assert labels(scanned) == {name: label for name, label in PBC.items() if label}
    assert scanned.left_out == {"erythroblast": 1, "ig/IG": 1, "neutrophil/NEUTROPHIL": 1, "platelet": 1}
    assert scanned.difference["lymphocyte"] == 2 - 1214
    assert sum(scanned.difference.values()) == len(PBC) - 17092
    assert {item.group for item in scanned.items} == {""}


def test_a_whole_archive_differs_in_nothing(tmp_path, monkeypatch):
    whole = {"monocyte": Label("MO", 3), "platelet": Label("", 1)}
    monkeypatch.setitem(SETS, "pbc", SETS["pbc"]._replace(labels=whole))
    put(tmp_path, *(f"monocyte/{n}.jpg" for n in range(3)), "platelet/4.jpg")
    assert scan("pbc", tmp_path).difference == {}
    assert len(ingest("pbc", tmp_path, 0.4, 1, strict=True).manifest) == 3
    put(tmp_path, "monocyte/5.jpg")
    assert scan("pbc", tmp_path).difference == {"monocyte": 1}


LMU = {"NGS": "SNE", "NGB": "BNE", "MYB": "MY", "MYO": "BL", "MOB": "BL", "LYA": "VLY", "EBO": "", "KSC": ""}


def test_lmus_label_is_the_original_annotation_where_it_is_the_folder_too(tmp_path):
    names = [f"{code}/{code}_{n}.tiff" for code in LMU for n in (1, 2)]
    put(tmp_path / "PKG/AML", *names, "MYO/MYO_9.tiff", mode="RGBA")
    lines = [f"{name} {name[:3]} {'MYO NGS' if '1' in name else ''}\n" for name in names]
    lines[5] = "MYB/MYB_2.tiff MYO\n"
    (tmp_path / "PKG/annotations.dat").write_text("".join(lines) + "NGS/NGS_9.tiff NGS nan nan\n")
    scanned = scan("aml_lmu", tmp_path)
    ours = {name: LMU[name[:3]] for name in names if LMU[name[:3]]}
    assert labels(scanned) == ours | {"MYB/MYB_2.tiff": "BL", "NGS/NGS_9.tiff": "SNE"}
    assert scanned.left_out == {"EBO": 2, "KSC": 2, UNUSED: 1}
    assert (scanned.difference["MYO"], scanned.difference["NGS"]) == (2 - 3268, 2 - 8484)
    assert ingest("aml_lmu", tmp_path, 0.25, 1).rejects.to_numpy().tolist() == [
        ["MYB/MYB_2.tiff", "annotation contradicts the folder", "MYO in MYB"],
        ["NGS/NGS_9.tiff", "no such file", ""],
    ]


def test_mll23s_label_is_the_folder(tmp_path):
    put(tmp_path, "neutrophil_band/a.tif", "plasma_cell/b.tif", "lymphocyte_reactive/c.TIF", "hairy_cell/d.tif")
    put(tmp_path, "lymphocyte/lymphocyte/a.tif", "__MACOSX/plasma_cell/._b.tif")
    (tmp_path / "plasma_cell.zip").touch()  # it may stay beside the folder
    scanned = scan("mll23", tmp_path)
    ours = {"lymphocyte/a.tif": "LY", "lymphocyte_reactive/c.TIF": "VLY", "neutrophil_band/a.tif": "BNE"}
    assert labels(scanned) == ours | {"plasma_cell/b.tif": "PC"}
    assert scanned.left_out == {"hairy_cell": 1}
    assert scanned.difference["basophil"] == -616


APL = [  # path below the folder, our class ("": left out) and the id
    ("Patient_00/Signed slides/Lymphocyte, variant/VLY_1.jpg", "VLY", "Patient_00/Lymphocyte, variant/VLY_1.jpg"),
    ("Patient_00/Signed slides/Band neutrophils/SNE_2.jpg", "BNE", "Patient_00/Band neutrophils/SNE_2.jpg"),
    ("Patient_105/a/Signed slides/Prolymphocyte/PLY_1.jpg", "PLY", "Patient_105/a/Prolymphocyte/PLY_1.jpg"),
    ("Patient_105/b/Signed slides/Prolymphocyte/PLY_1.jpg", "PLY", "Patient_105/b/Prolymphocyte/PLY_1.jpg"),
    ("Patient_105/Signed slides/Promonocyte/PMO_3.jpg", "", ""),
    ("Patient_105/Unsigned slides/Whatever/BL_5.jpg", "", ""),
    ("Patient_105/a/Unsigned slides/BL_6.jpg", "", ""),
]


def test_apls_label_is_the_signed_folder_and_its_group_the_patient(tmp_path):
    put(tmp_path / "archive", *(path for path, *_ in APL))
    scanned = scan("apl_aml", tmp_path)
    assert labels(scanned) == {id: label for _, label, id in APL if label}
    assert all(item.group == item.id.split("/")[0] for item in scanned.items)
    assert scanned.left_out == {"Promonocyte": 1, "unsigned slide": 2}
    assert scanned.difference == {}  # the numbers are published nowhere


HF = [  # ID, label, group, split, severity, original; what becomes of it
    ("0", "SNE", "p0", "", "", "", ""),
    ("1", "", "p1", "", "", "", "no label"),
    ("2", "LY", "p2", "", "", "2", ""),  # its own original
    ("3", "SNE", "p0", "", "mild", "0", "degraded copy"),
    ("4", "MO", "p7", "", "mild", "77", ""),  # whose original is not there
    ("5", "LY", "p1", "", "mild", "1", ""),  # whose original has no label
]


def test_hugging_faces_copies_of_labelled_images_are_left_out(tmp_path):
    write_csv(tmp_path / "unpacked/labels.csv", COLUMNS, [row[:-1] for row in HF])
    put(tmp_path / "unpacked/images", *(f"{row[0]}.png" for row in HF))
    scanned = scan("wbcbench_hf", tmp_path)
    used = [row for row in HF if not row[-1]]
    assert [(item.id, item.label, item.group) for item in scanned.items] == [row[:3] for row in used]
    assert scanned.left_out == {"degraded copy": 1, "no label": 1}


NO_ARCHIVES = [
    ("apl_aml", {"Patient_1/Monocyte/MO_1.jpg": ""}, "expected below Patient_<n>/Signed slides or Unsigned slides"),
    ("apl_aml", {"Signed slides/Monocyte/MO_1.jpg": ""}, "expected below Patient_<n>/Signed slides or Unsigned slides"),
    ("apl_aml", {"Patient_1/Signed slides/MO_1.jpg": ""}, "expected Patient_<n>/Signed slides/<class>/<name>"),
    ("apl_aml", {"Patient_1/Signed slides/Monocyte/2/1.jpg": ""}, "expected Patient_<n>/Signed slides/<class>/<name>"),
    ("apl_aml", {"Patient_1/Signed slides/Mono/MO_1.jpg": ""}, r"unknown label 'Mono' \(1×\); apl_aml has Segmented"),
    ("aml_lmu", {"LYT/LYT_1.tiff": ""}, "no annotations.dat; expected AML-Cytomorphology_LMU, unpacked"),
    ("aml_lmu", {"annotations.dat": "", "old/annotations.dat": ""}, "both annotations.dat and old/annotations.dat"),
    ("aml_lmu", {"annotations.dat": "", "augmented/LYT_1.tiff": ""}, "augmented: mirrored images"),
    ("aml_lmu", {"annotations.dat": "\npath\n"}, "line 2 has 1 values; expected 2 to 4: path and labels"),
    ("mll23", {"lymphocyte/1.tif": "", "monocyte.zip": ""}, r"not unpacked: monocyte\.zip; unpack each"),
    ("wbcbench_hf", {"labels.csv": "", "old/labels.csv": ""}, "both labels.csv and old/labels.csv; keep one"),
]


@pytest.mark.parametrize(("source", "files", "message"), NO_ARCHIVES)
def test_what_is_not_the_archive_stops(tmp_path, source, files, message):
    write(tmp_path, files)
    with pytest.raises(SourceError, match=message):
        scan(source, tmp_path)


# --- several sources

COPIES = {f"mll23/lymphocyte/{name}": f"pbc/lymphocyte/LY_{n}.jpg" for n, name in enumerate(("same.jpg", "small.tif"))}


@pytest.fixture
def several(tmp_path):
    """PBC and MLL23 with drawn cells, of which two are `COPIES`: the same bytes, and smaller."""
    root, rng = tmp_path / "raw", np.random.default_rng(5)
    for n in range(8):
        save(root / f"pbc/lymphocyte/LY_{n}.jpg", draw("LY", 96, rng)[0])
        save(root / f"mll23/lymphocyte/{n}.tif", draw("LY", 96, rng)[0])
        save(root / f"pbc/monocyte/MO_{n}.jpg", draw("MO", 96, rng)[0])
        save(root / f"mll23/plasma_cell/{n}.tif", draw("PC", 96, rng)[0])
    shutil.copy(root / "pbc/lymphocyte/LY_0.jpg", root / "mll23/lymphocyte/same.jpg")
    image = np.asarray(Image.open(root / "pbc/lymphocyte/LY_1.jpg"))
    save(root / "mll23/lymphocyte/small.tif", cv2.resize(image, (80, 80), interpolation=cv2.INTER_AREA))
    return root


def test_each_of_several_sources_lies_below_its_name_and_prefixes_it(several):
    put(several / "mll23", "smudge_cell/1.tif")
    put(several / "apl_aml", "Patient_1/Signed slides/Monocyte/MO_1.jpg")
    pbc, mll23, apl, _ = scan_all(["pbc", "mll23", "apl_aml"], several)
    (alone,) = scan_all("pbc", several / "pbc")
    assert [item.id for item in pbc.items] == [f"pbc/{item.id}" for item in alone.items]
    assert mll23.left_out == {"mll23/smudge_cell": 1}
    assert mll23.difference["mll23/hairy_cell"] == -3265
    assert [item.group for item in (pbc.items[0], *apl.items)] == ["", "apl_aml/Patient_1"]


def test_copies_in_two_sources_stay_in_one_part_and_fold(several):
    tested = set()
    for seed in range(12):
        found = ingest(["pbc", "mll23"], several, 0.3, seed)
        parts = found.manifest.assign(fold=folds(found.manifest, 3, seed)).set_index("id")[["part", "fold"]]
        assert (parts.loc[list(COPIES)].to_numpy() == parts.loc[list(COPIES.values())].to_numpy()).all()
        assert set(found.leaks["kind"]) <= {"within_training"}
        assert {id.split("/")[0] for id in parts.index[parts["part"] == "test"]} == {"pbc", "mll23"}
        tested |= set(parts.loc[list(COPIES), "part"])
    assert tested == {"train", "test"}
    assert found.rejects.empty
    assert found.notes["in_one_source"] == {"MO": "pbc", "PC": "mll23"}


def test_a_copy_of_what_another_source_tests_is_rejected_and_those_within_a_source_are_kept(several):
    for part, name in (("test", "own.png"), ("train", "own.png"), ("train", "new.png")):
        image, _ = draw("LY", 96, np.random.default_rng(list(name.encode())))
        save(several / "folder" / part / "LY" / name, image)
    save(several / "folder/test/LY/seen.png", Image.open(several / "pbc/lymphocyte/LY_0.jpg"))
    found = ingest(["pbc", "mll23", "folder"], several, 0.3, 1)
    why = ["copy of another source's test image", "folder/test/LY/seen.png"]
    copies = ["pbc/lymphocyte/LY_0.jpg", "mll23/lymphocyte/same.jpg"]
    assert found.rejects.to_numpy().tolist() == [[name, *why] for name in copies]
    tested = found.manifest.loc[found.manifest["part"] == "test", "id"]
    assert set(tested) == {"folder/test/LY/seen.png", "folder/test/LY/own.png"}
    assert found.leaks.loc[found.leaks["kind"] == "identical", "id"].tolist() == ["folder/test/LY/own.png"]
    assert found.manifest["copy_of"].isin(["", *found.manifest["id"]]).all()


def test_each_of_several_folders_may_be_a_link_but_no_image_is_from_another(several, tmp_path):
    (tmp_path / "linked").mkdir()
    for name in ("pbc", "mll23"):
        (tmp_path / "linked" / name).symlink_to(several / name)
    (several / "mll23/lymphocyte/out.jpg").symlink_to(several / "pbc/lymphocyte/LY_3.jpg")
    assert set(ingest(["pbc", "mll23"], tmp_path / "linked", 0.3, 1).rejects["reason"]) == {"link out of the folder"}


# --- settings and the stage


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["pbc", "mll2"], r"data\.source = 'mll2': allowed: .*; did you mean 'mll23'\?"),
        (["pbc", "pbc"], r"data\.source = \['pbc', 'pbc'\]: should be two or more different sources"),
        (["pbc"], r"data\.source = \['pbc'\]: should be two or more different sources"),
        (["pbc", "synthetic"], r"data\.source = .*: should be two or more different sources, none of them synthetic"),
        (["pbc", "mll23"], r"data\.path = 'data/raw': no folder 'mll23' there"),
    ],
)
def test_sources_and_their_folders_are_checked(params, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw/pbc").mkdir(parents=True)
    params["data"]["source"] = source
    with pytest.raises(ConfigError, match=message):
        complete(resolve(params), [])


def test_the_stage_says_what_is_left_out_what_is_missing_and_which_classes_one_source_has(ingest_stage, several):
    put(several / "mll23", "smudge_cell/1.tif")
    said = ingest_stage(source=["pbc", "mll23"], path=str(several))
    assert " left out: mll23/smudge_cell 1 " in said
    assert "in one source only, so a network may learn the laboratory instead: MO pbc, PC mll23 " in said
    assert "fewer if negative: pbc/neutrophil/SNE -1646, " in said


def test_the_stage_says_what_a_licence_forbids(ingest_stage, tmp_path):
    write_csv(tmp_path / "raw/wbcbench_hf/labels.csv", COLUMNS, [(n, "LY", f"p{n}", "", "", "") for n in range(8)])
    put(tmp_path / "raw/wbcbench_hf/images", *(f"{n}.png" for n in range(8)))
    said = ingest_stage(source="wbcbench_hf", path="raw/wbcbench_hf")
    assert said.startswith("wbcbench_hf: its licence, CC BY-NC 4.0, forbids commercial use, passing the images on")
