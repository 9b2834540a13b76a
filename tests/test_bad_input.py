"""Bad input never ends in a traceback: each case is used, is rejected with a reason, or stops with one line."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pictures import put, write
from stages import configure, ingest, run, split
from study import study_params, write_settings
from wbc.classical.table import read_parts
from wbc.core.tables import FEATURES, INGEST, mark, read_manifest
from wbc.dataset.images import decode


def message(main) -> str:
    """What `main`, run as a stage is, ends with: its message without the `error: ` before it, or ""."""
    try:
        run(main)
    except SystemExit as stop:
        return str(stop.code).removeprefix("error: ")
    return ""


# --- sources: data/raw/images/0.png … 7.png and what a case makes of them


def source(build, layout="folder", **settings):
    """What ingesting data/raw ends with after `build(data/raw)`."""

    def outcome():
        put(Path("data/raw/images"), *EIGHT)
        build(Path("data/raw"))
        params = study_params()
        params["data"] |= {"source": layout, **settings}
        write_settings(params, "ingest", "machine", "split")
        if stop := message(lambda: ingest.main("study")):
            return f"stops: {stop}"
        rejects = pd.read_csv(INGEST / "study/rejects.csv", keep_default_na=False)
        if len(rejects):
            return "rejected: " + "; ".join(f"{row.name}: {row.reason}: {row.detail}" for row in rejects.itertuples())
        manifest = read_manifest()
        for row in manifest[manifest["path"].str.contains("case")].itertuples():
            return f"used: {row.width}×{row.height} {decode(Path(row.path).read_bytes())[0, 0]}"
        table = manifest.groupby(["label", "part"]).size().unstack(fill_value=0).itertuples()
        return "used: " + ", ".join(f"{row.Index or 'no label'} {row.train} + {row.test}" for row in table)

    return outcome


def rows(*lines, header="ID,labels", label="SNE", images=range(8), make=None, **settings):
    """Lists the images, all under one label, and then `lines`, after `make(images/)`."""
    text = "\n".join([header, *(f"{i}.png,{label}" for i in images), *lines, ""])

    def build(root):
        if make:
            make(root / "images")
        write(root, {"labels.csv": text})

    return source(build, **settings)


def parts(*lines):
    return rows(*lines, header="ID,labels,part", images=())


def changed(change):
    """Lists the images in a file whose bytes are then changed."""
    content = "\n".join(["ID,labels", *(f"{i}.png,SNE" for i in range(8)), ""]).encode()
    return source(lambda root: (root / "labels.csv").write_bytes(change(content)))


def one(id, make=None, label="LY", **settings):
    """Lists one more image: noise, or what `make(path)` puts there."""
    return rows(f"{id},{label}", make=lambda images: make(images / id) if make else put(images, id), **settings)


def pixels(value, shape=(6, 8), **options):
    """One more image, of one colour."""
    image = Image.fromarray(np.full((*shape, 3), value, np.uint8))
    return one("case.png", lambda path: image.save(path, **options))


def files(layout, *images, text=(), **settings):
    """Image files, and files of text by name, in place of the images."""
    return source(lambda root: (empty(root), put(root, *images), write(root, dict(text))), layout, **settings)


def empty(root):
    shutil.rmtree(root)
    root.mkdir()


def cut(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def link(target):
    return one("case.png", lambda path: (put(Path("data"), "outside.png"), path.symlink_to(target)))


def link_to_a_folder(images):
    put(Path("data/outside"), "y.png")
    (images / "SNE").symlink_to("../../outside")


def copy(path):
    shutil.copy(path.with_name("0.png"), path)


def no_utf_8(root):
    (root / "images").rename(root / "LY")
    shutil.copy(root / "LY/0.png", os.fsencode(root / "LY") + b"/\xff.png")


# --- what comes after


def cross_validated(ingested):
    """Reading the training features of a source."""

    def outcome():
        ingested()
        split.main("0")
        (FEATURES / "study").mkdir(parents=True)
        mark(FEATURES / "study", "study")
        pd.DataFrame({"feature": 0.0}, index=read_manifest()["id"]).to_parquet(FEATURES / "study/v1.parquet")
        return f"stops: {message(lambda: read_parts('v1', 0))}"

    return outcome


def params_file(content=None):
    """What `configure` says to a params.yaml of this content."""

    def outcome():
        if content:
            Path("params.yaml").write_text(content)
        return f"stops: {message(configure.main)}"

    return outcome


LIST = "ID,labels\n" + "".join(f"{i}.png,SNE\n" for i in range(4))
CELLS = ("LY/a.png", "LY/b.png", "LY/c.png")
PBC = ("lymphocyte/LY_1.png", "lymphocyte/LY_2.png", "monocyte/MO_1.png")
TRAIN = {"train.csv": LIST, "train_old.csv": LIST}
EIGHT, ONE = [f"{i}.png" for i in range(8)], {"train.csv": LIST}
PHASE_1 = {"phase1_label.csv": LIST}
HIDDEN = {"ig/.DS_1.jpg": "", "__MACOSX/ig/._x.jpg": ""}
LY = ("0.png,LY", "1.png,LY", "2.png,LY")
SPLIT = ("train/LY/a.png", "test/LY/b.png")
CASES = {
    # folders
    "an empty folder": (source(empty), "stops: data/raw: no images; expected labels.csv and images/"),
    "a missing folder": (source(shutil.rmtree), "stops: data/raw: no such folder; data.path must hold"),
    "images in no class folder": (files("folder", "a.png"), "stops: data/raw: no images; expected"),
    "no images/": (files("folder", text={"labels.csv": LIST}), "stops: data/raw/images: no such folder"),
    "another folder": (files("folder", *CELLS, "Ly/d.png"), "rejected: Ly/d.png: unknown label: 'Ly'"),
    "hidden files and folders": (files("folder", *CELLS, "LY/._a.png", ".trash/a.png"), "used: LY 2 + 1"),
    "wbcbench: one list": (files("wbcbench", text=PHASE_1), "stops: data/raw/phase2_train.csv: No such file"),
    "kaggle: no list": (source(lambda root: None, "kaggle"), "stops: data/raw: no CSV file with 'train' in its name"),
    "kaggle: two lists": (
        files("kaggle", text=TRAIN),
        "stops: data/raw: both train.csv and train_old.csv have 'train'",
    ),
    "kaggle: hidden files": (files("kaggle", *EIGHT, "._8.png", text=ONE), "used: no label 0 + 4, SNE 4 + 0"),
    "pbc: unpacked twice": (
        files("pbc", *(f"PBC/PBC/{name}" for name in PBC), text=HIDDEN),
        "used: LY 1 + 1, MO 1 + 0",
    ),
    "pbc: another folder": (files("pbc", *PBC, "x/S_1.png"), "stops: data/raw: unknown label 'x' (1×); pbc has"),
    "pbc: packed": (files("pbc", text={"PBC.zip": ""}), "stops: data/raw: no images; PBC.zip is not unpacked"),
    "pbc: no class of ours": (files("pbc", "platelet/P_1.png"), "stops: data/raw: no image of our classes; left out:"),
    "wbcbench_hf: packed": (files("wbcbench_hf", text={"a.parquet": ""}), "stops: data/raw: no labels.csv;"),
    "not the archive": (files("mll23", "lymphocyte/1.tif", strict=True), "stops: data/raw: not the whole archive:"),
    "a missing source": (source(lambda root: None, ["pbc", "mll23"]), "stops: data/raw/pbc: no such folder;"),
    # lists
    "byte-order mark": (changed(lambda content: b"\xef\xbb\xbf" + content), "used: SNE 6 + 2"),
    "semicolons": (changed(lambda content: content.replace(b",", b";")), "used: SNE 6 + 2"),
    "tabs": (changed(lambda content: content.replace(b",", b"\t")), "used: SNE 6 + 2"),
    "CRLF": (changed(lambda content: content.replace(b"\n", b"\r\n")), "used: SNE 6 + 2"),
    "CR": (changed(lambda content: content.replace(b"\n", b"\r")), "used: SNE 6 + 2"),
    "more columns": (changed(lambda content: re.sub(rb"(.+),(.+)", rb"x,\2,\1", content)), "used: SNE 6 + 2"),
    "quotes": (changed(lambda content: re.sub(rb"[^,\n]+", rb'"\g<0>"', content)), "used: SNE 6 + 2"),
    "blanks": (changed(lambda content: content.replace(b",", b" , ")), "used: SNE 6 + 2"),
    "blank lines": (changed(lambda content: content.replace(b"\n", b"\n\n,\n")), "used: SNE 6 + 2"),
    "no content": (changed(lambda content: b""), "stops: data/raw/labels.csv: no column 'ID'; the first line must"),
    "header only": (rows(images=()), "stops: data/raw/labels.csv: lists no image"),
    "column in another case": (rows(header="ID,Labels"), "stops: data/raw/labels.csv: no column 'labels';"),
    "column twice": (rows(header="ID,labels,labels"), "stops: data/raw/labels.csv: more than one column 'labels';"),
    "unquoted comma": (rows("a,b.png,SNE"), "stops: data/raw/labels.csv: line 10 has 3 values for 2 columns;"),
    "open quote": (rows('8.png,"SNE'), "stops: data/raw/labels.csv: not a CSV file in UTF-8: unexpected end of data"),
    "UTF-16": (changed(lambda content: content.decode().encode("utf-16")), "stops: data/raw/labels.csv: not a CSV"),
    # what a list says
    "unknown label": (rows("0.png,Cell", images=range(1, 8)), "rejected: 0.png: unknown label: 'Cell'; known:"),
    "lower case": (rows("0.png,sne", images=range(1, 8)), "rejected: 0.png: unknown label: 'sne'; did you mean 'SNE'?"),
    "unknown part": (parts("0.png,SNE,train", "1.png,SNE,x", "2.png,SNE,test"), "rejected: 1.png: unknown part: 'x'"),
    "validation": (parts("0.png,SNE,train", "1.png,SNE,Val", "2.png,SNE,test"), "rejected: 1.png: validation part"),
    "an id twice": (rows("0.png,SNE"), "rejected: 0.png: duplicate id"),
    "two labels": (rows("0.png,LY"), "rejected: 0.png: id under two labels: LY, SNE; 0.png: id under two labels"),
    "two ids of one file": (rows("0,SNE"), "rejected: 0: same file as another id: 0.png"),
    "no suffix": (rows("0,SNE", images=range(1, 8)), "used: SNE 6 + 2"),
    "two files": (
        rows("x,LY", make=lambda images: put(images, "x.png", "x.jpg")),
        "rejected: x: ambiguous: x.jpg or x.png",
    ),
    "no file": (rows("8.png,SNE"), "rejected: 8.png: no such file"),
    "another suffix": (one("8.webp"), "rejected: 8.webp: unknown suffix: '.webp'; known: .jpg, .jpeg"),
    "absolute path": (rows("/cells/8.png,SNE"), "rejected: /cells/8.png: absolute path"),
    "absolute path of Windows": (rows("C:\\cells\\8.png,SNE"), "rejected: C:\\cells\\8.png: absolute path"),
    "path with ..": (rows("../images/0.png,SNE"), "rejected: ../images/0.png: path outside the folder"),
    "link out": (link("../../outside.png"), "rejected: case.png: link out of the folder: not followed;"),
    "link to nothing": (link("gone.png"), "rejected: case.png: unreadable file: No such file or directory"),
    "link to itself": (link("case.png"), "rejected: case.png: unreadable file: Too many levels of symbolic links"),
    "link inside": (one("case.png", lambda path: path.symlink_to("0.png"), "SNE"), "used: 8×8"),
    "link to a folder": (rows(make=link_to_a_folder), "rejected: images/SNE: link to a folder: not entered; put the"),
    "pipe": (one("case.png", os.mkfifo), "rejected: case.png: not a file"),
    "any script": (one("zellen 1/白 血球.png"), "used: LY 1 + 0, SNE 6 + 2"),
    "decomposed é": (one("é.png", lambda path: put(path.parent, "e\u0301.png")), "used: LY 1 + 0, SNE 6 + 2"),
    "a name that is not UTF-8": (source(no_utf_8), "rejected: LY/\\udcff.png: name is not UTF-8"),
    # images
    "empty file": (one("case.png", Path.touch), "rejected: case.png: empty file"),
    "truncated": (one("case.jpg", cut), "rejected: case.jpg: unreadable image: image file is truncated"),
    "text": (one("case.png", lambda path: path.write_text("hello")), "rejected: case.png: not a JPEG, PNG, BMP, TIFF"),
    "GIF": (pixels(200, format="GIF"), "rejected: case.png: not a JPEG, PNG, BMP, TIFF image"),
    "1×1 pixel": (pixels(200, (1, 1)), "used: 1×1 [200 200 200]"),
    "8000×8000 pixels": (pixels(200, (8000, 8000)), "used: 8000×8000 [200 200 200]"),
    # classes and parts
    "one image in a class": (one("x.png", label="PLY"), "used: PLY 1 + 0, SNE 6 + 2"),
    "a class without training": (files("folder", *SPLIT, "test/SNE/c.png"), "used: LY 1 + 1, SNE 0 + 1"),
    "a class without test": (files("folder", *SPLIT, "train/SNE/c.png"), "used: LY 1 + 1, SNE 1 + 0"),
    "unlabelled": (parts("0.png,LY,train", "1.png,,test", "2.png,NaN,test"), "used: no label 0 + 2, LY 1 + 0"),
    "no training image": (rows(label="sne"), "stops: data/raw: no usable labelled training image among 8 images;"),
    "no test image": (parts("0.png,SNE,train", "8.png,SNE,test"), "stops: data/raw: no usable test image;"),
    "test_fraction": (rows(test_fraction=0.01), "stops: data/raw: data.test_fraction = 0.01 holds back none of 8"),
    "one class, for classifiers": (cross_validated(rows(test_fraction=0.1)), "stops: 7 training images are too few"),
    "few, for classifiers": (cross_validated(rows(*LY, images=(3, 4, 5))), "stops: 4 training images are too few"),
    "strict": (rows("8.png,SNE", strict=True), "stops: data/raw: '8.png': no such file; correct it or take it out,"),
    "unused, strict": (rows(make=lambda images: put(images, "x.png"), strict=True), "stops: data/raw: 1 images are"),
    "unread, strict": (rows(make=lambda images: put(images, "x.gif"), strict=True), "stops: data/raw: 'images/x.gif'"),
    "text, strict": (rows(make=lambda images: write(images, {"x.txt": ""}), strict=True), "used: SNE 6 + 2"),
    "leaks": (one("case.png", copy, leaks="stop"), "stops: data/ingest/study/leaks.csv lists leaks: two_labels 2;"),
    # settings
    "no YAML": (params_file("a: [1\nb: 2\n"), "stops: params.yaml, line 2, column 2: not valid YAML"),
    "no params.yaml": (params_file(), "stops: params.yaml: no such file"),
}


@pytest.mark.parametrize(("case", "expected"), CASES.values(), ids=CASES)
def test_bad_input_ends_as_expected(case, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    outcome = case()
    assert outcome.startswith(expected)
    assert "\n" not in outcome
    assert "Traceback" not in outcome
