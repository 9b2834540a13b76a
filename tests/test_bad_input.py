"""Bad input: each case of bad_input.txt is built here, and must end as its line says."""

import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML
from safetensors.numpy import save

from stages import configure, ingest, run, split
from study import set_knob, study_params, write_settings
from wbc.__main__ import main as wbc
from wbc.classical.table import read_parts
from wbc.core.tables import FEATURES, INGEST, mark, read_manifest
from wbc.dataset.images import decode

EXPECTED = Path(__file__).parent / "bad_input.txt"


def message(main) -> str:
    """What `main`, run as a stage or command is, ends with: its message without the `error: ` before it, or ""."""
    try:
        run(main)
    except SystemExit as stop:
        return str(stop.code).removeprefix("error: ")
    return ""


# --- sources: data/raw/images/0.png … 7.png and what a case makes of them


def source(build, layout="folder", **settings):
    """What ingesting data/raw ends with after `build(data/raw)`."""

    def outcome():
        for i in range(8):
            put(f"data/raw/images/{i}.png")
        build(Path("data/raw"))
        params = study_params()
        params["data"] |= {"source": layout, **settings}
        write_settings(params, "ingest", "machine", "split")
        if stop := message(lambda: ingest.main("study")):
            return f"stops: `{stop}`"
        rejects = pd.read_csv(INGEST / "study/rejects.csv", keep_default_na=False).drop_duplicates(["reason", "detail"])
        if len(rejects):
            reasons = (f"`{row.reason}`" + f", `{row.detail}`" * bool(row.detail) for row in rejects.itertuples())
            return f"rejected: {' and '.join(reasons)}"
        manifest = read_manifest()
        for row in manifest[manifest["path"].str.contains("case")].itertuples():
            first = ", ".join(map(str, decode(Path(row.path).read_bytes())[0, 0]))
            return f"used: {row.width}×{row.height} pixels, the first is ({first})"
        table = manifest.groupby(["label", "part"]).size().unstack(fill_value=0).itertuples()
        return "used: " + ", ".join(f"{row.Index or 'no label'} {row.train} + {row.test}" for row in table)

    return outcome


def put(path, pixels=None, mode=None, **options):
    """An image file: noise that its name decides, or the given pixels."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.random.default_rng(list(path.name.encode())).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(pixels, mode).save(path, **options)


def flat(*value, dtype=np.uint8):
    """6 rows of 8 pixels of one colour."""
    return np.full((6, 8, len(value)), value, dtype).squeeze()


def rows(*lines, header="ID,labels", label="SNE", images=range(8), **settings):
    """Lists the images, all under one label, and then `lines`."""
    text = "\n".join([header, *(f"{i}.png,{label}" for i in images), *lines, ""])
    return source(lambda root: (root / "labels.csv").write_text(text, encoding="utf-8"), **settings)


def parts(*lines):
    return rows(*lines, header="ID,labels,part", images=())


def changed(change):
    """Lists the images in a file whose bytes are then changed."""
    content = "\n".join(["ID,labels", *(f"{i}.png,SNE" for i in range(8)), ""]).encode()
    return source(lambda root: (root / "labels.csv").write_bytes(change(content)))


def one(id, make, label="LY", **settings):
    """Lists one more image, which `make(path)` puts there."""

    def build(root):
        lines = ["ID,labels", *(f"{i}.png,SNE" for i in range(8)), f"{id},{label}", ""]
        (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
        make(root / "images" / id)

    return source(build, **settings)


def picture(name, pixels, mode=None, **options):
    return one(name, lambda path: put(path, pixels, mode, **options))


def files(layout, *images, text=(), **settings):
    """Image files, and (name, content) of others, in place of the images."""

    def build(root):
        empty(root)
        for name in images:
            put(root / name)
        write(root, *text)

    return source(build, layout, **settings)


def write(root, *text):
    for name, content in text:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def empty(root):
    shutil.rmtree(root)
    root.mkdir()


def cut(path):
    put(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    put(path, flat(200, 60, 60), exif=exif)


def link(target):
    return one("case.png", lambda path: (put("data/outside.png"), path.symlink_to(target)))


def copy(path):
    shutil.copy(path.with_name("0.png"), path)


def save_again(path):
    """Of 20 times the size, since a perceptual hash says nothing of 8×6 pixels that were compressed."""
    large = Image.open(path.with_name("0.png")).resize((160, 120), Image.Resampling.BICUBIC)
    large.save(path.with_name("0.png"))
    large.save(path, "JPEG")


def deep_colours(path):
    path.write_bytes(cv2.imencode(".png", flat(4080, 4080, 4080, dtype=np.uint16))[1])


def paged(*pages):
    first, *others = (Image.fromarray(page) for page in pages)
    return lambda path: first.save(path, save_all=True, append_images=others)


def no_utf_8(root):
    shutil.rmtree(root / "images")
    for name in ("a", "b", "c"):
        put(root / "LY" / f"{name}.png")
    shutil.copy(root / "LY/a.png", os.fsencode(root / "LY") + b"/\xff.png")


def unlisted(root):
    for path in list((root / "images").iterdir()):
        path.rename(root / path.name)


def two_sources(root):
    empty(root)
    for n in range(3):
        put(root / f"pbc/lymphocyte/LY_{n}.png")
    (root / "folder/test/LY").mkdir(parents=True)
    shutil.copy(root / "pbc/lymphocyte/LY_0.png", root / "folder/test/LY/seen.png")


LIST = "ID,labels\n" + "".join(f"{i}.png,SNE\n" for i in range(4))
CELLS = ("LY/a.png", "LY/b.png", "LY/c.png")
PBC = ("lymphocyte/LY_1.png", "lymphocyte/LY_2.png", "monocyte/MO_1.png")
LMU = tuple(f"{code}/{code}_{n:04}.tiff" for code in ("LYT", "MON") for n in (1, 2, 3))
LISTED = "".join(f"{name} {name[:3]} nan nan\n" for name in LMU)
SIGNED = tuple(f"Patient_{n}/Signed slides/Monocyte/MO_{n}.jpg" for n in range(3))
MODEL = ("classify", "cells", "--model", "model.safetensors")


# --- what comes after


def cross_validated(ingested):
    """Reading the training features of a source."""

    def outcome():
        ingested()
        split.main("0")
        (FEATURES / "study").mkdir(parents=True)
        mark(FEATURES / "study", "study")
        pd.DataFrame({"feature": 0.0}, index=read_manifest()["id"]).to_parquet(FEATURES / "study/v1.parquet")
        return f"stops: `{message(lambda: read_parts('v1', 0))}`"

    return outcome


def setting(change):
    """What `configure` says to a change of params.yaml."""

    def outcome():
        params = study_params()
        set_knob(params, change)
        with open("params.yaml", "w") as file:
            YAML().dump(params, file)
        return f"stops: `{message(configure.main)}`"

    return outcome


def command(main, **content):
    """What a command or `configure` says to files of this content: `params` is params.yaml, `model` a model."""

    def outcome():
        put("cells/a.png")
        names = {"params": "params.yaml", "model": "model.safetensors"}
        for name, value in content.items():
            Path(names[name]).write_bytes(value)
        return f"stops: `{message(main)}`"

    return outcome


def classify():
    wbc(MODEL)


CASES = {
    # folders
    "an empty folder": source(empty),
    "a missing folder": source(shutil.rmtree),
    "images neither listed nor in a folder per class": source(unlisted),
    "`labels.csv` without `images/`": files("folder", text=[("labels.csv", LIST)]),
    "a folder that is named after no class": files("folder", *CELLS, "Lymphocyte/d.png"),
    "hidden files and folders beside three images of a class": files("folder", *CELLS, "LY/._a.png", ".trash/a.png"),
    "`wbcbench`: a list is missing": source(lambda root: write(root, ("phase1_label.csv", LIST)), "wbcbench"),
    "`kaggle`: no list": source(lambda root: None, "kaggle"),
    "`kaggle`: two lists": files("kaggle", text=[("train.csv", LIST), ("train_old.csv", LIST)]),
    "`kaggle`: no sample submission, and hidden files beside the images": source(
        lambda root: (write(root, ("train.csv", LIST)), put(root / "images/._4.png")), "kaggle"
    ),
    "`pbc`: unpacked twice, one in the other, with hidden files": files(
        "pbc", *(f"PBC/PBC/{name}" for name in PBC), text=[("neutrophil/.DS_1.jpg", ""), ("__MACOSX/ig/._x.jpg", "")]
    ),
    "`pbc`: a folder that the set does not have": files("pbc", *PBC, "smudge/SMU_1.png", "smudge/SMU_2.png"),
    "`pbc`: still packed": files("pbc", text=[("PBC_dataset_normal_DIB.zip", "")]),
    "`pbc`: labels of none of our classes alone": files("pbc", "platelet/PLATELET_1.png"),
    "`aml_lmu`: no list": files("aml_lmu", *LMU),
    "`aml_lmu`: two lists": files("aml_lmu", *LMU, text=[("annotations.dat", ""), ("old/annotations.dat", "")]),
    "`aml_lmu`: a line of another kind": files("aml_lmu", *LMU, text=[("annotations.dat", f"path\n{LISTED}")]),
    "`aml_lmu`: mirrored copies": files("aml_lmu", *LMU, "augmented/LYT_1.tiff", text=[("annotations.dat", LISTED)]),
    "`aml_lmu`: a listed image that is not there": files("aml_lmu", *LMU[1:], text=[("annotations.dat", LISTED)]),
    "`aml_lmu`: a label that is not the folder's": files(
        "aml_lmu", *LMU, text=[("annotations.dat", LISTED.replace("0001.tiff LYT", "0001.tiff MON"))]
    ),
    "`aml_lmu`: an image that is not listed": files(
        "aml_lmu", *LMU, "LYT/LYT_0004.tiff", text=[("annotations.dat", LISTED)]
    ),
    "`mll23`: a class still packed": files("mll23", "lymphocyte/1.tif", text=[("monocyte.zip", "")]),
    "`apl_aml`: an unsigned slide": files("apl_aml", *SIGNED, "Patient_3/Unsigned slides/LY_1.jpg"),
    "`apl_aml`: an image in another place": files("apl_aml", *SIGNED, "Patient_3/Monocyte/MO_3.jpg"),
    "`wbcbench_hf`: not unpacked": files("wbcbench_hf", text=[("pristine/phase1_train-0.parquet", "")]),
    "with `data.strict=true`: a part of an archive": files("mll23", "lymphocyte/1.tif", strict=True),
    "several sources: one trains on what another tests": source(two_sources, ["pbc", "folder"]),
    "several sources: one is not there": source(lambda root: None, ["pbc", "mll23"]),
    # lists
    "a byte-order mark": changed(lambda content: b"\xef\xbb\xbf" + content),
    "semicolons": changed(lambda content: content.replace(b",", b";")),
    "tabs": changed(lambda content: content.replace(b",", b"\t")),
    "Windows' line ends (CRLF)": changed(lambda content: content.replace(b"\n", b"\r\n")),
    "old Mac line ends (CR)": changed(lambda content: content.replace(b"\n", b"\r")),
    "more columns, in another order": changed(lambda content: re.sub(rb"(.+),(.+)", rb"x,\2,\1", content)),
    "values between quotation marks": changed(lambda content: re.sub(rb"[^,\n]+", rb'"\g<0>"', content)),
    "blanks around the values": changed(lambda content: content.replace(b",", b" , ")),
    "blank lines": changed(lambda content: content.replace(b"\n", b"\n\n,\n")),
    "no content": changed(lambda content: b""),
    "a header only": rows(images=()),
    "a column is missing": rows(header="ID,class"),
    "a column's name in another case": rows(header="ID,Labels"),
    "a column twice": rows(header="ID,labels,labels"),
    "an unquoted comma": rows("a,b.png,SNE"),
    "a quotation mark left open": rows('8.png,"SNE'),
    "UTF-16": changed(lambda content: content.decode().encode("utf-16")),
    # what a list says
    "no label": rows("0.png,", images=range(1, 8)),
    "the label `NaN`": rows("0.png,NaN", images=range(1, 8)),
    "an unknown label": rows("0.png,Lymphocyte", images=range(1, 8)),
    "a label in lower case": rows("0.png,sne", images=range(1, 8)),
    "another part than `train` or `test`": parts("0.png,SNE,train", "1.png,SNE,dev", "2.png,SNE,test"),
    "a validation part": parts("0.png,SNE,train", "1.png,SNE,Validation", "2.png,SNE,test"),
    "no id": rows(",SNE"),
    "an id twice": rows("0.png,SNE"),
    "an id twice, with two labels": rows("0.png,LY"),
    "two ids of one file": rows("0,SNE"),
    "an id without suffix": rows("0,SNE", images=range(1, 8)),
    "an id without suffix, of two files": one("x", lambda path: (put(f"{path}.png"), put(f"{path}.jpg")), "SNE"),
    "a file that does not exist": rows("8.png,SNE"),
    "a file of another format": one("8.webp", put),
    "an absolute path": rows("/cells/8.png,SNE"),
    "an absolute path of Windows": rows("C:\\cells\\8.png,SNE"),
    "a path with `..`": rows("../images/0.png,SNE", images=range(1, 8)),
    "a link to a file outside the folder": link("../../outside.png"),
    "a link to nothing": link("gone.png"),
    "a link to itself": link("case.png"),
    "a pipe": one("case.png", os.mkfifo),
    "blanks and any script in a name": one("zellen 1/白 血球.png", put),
    "é in one piece in the list, in two in the file's name": one(
        "é.png", lambda path: put(path.with_name("e\u0301.png"))
    ),
    "a file's name that is not UTF-8": source(no_utf_8),
    # images
    "an empty file": one("case.png", Path.touch),
    "a truncated file": one("case.jpg", cut),
    "a text with an image's suffix": one("case.png", lambda path: path.write_text("hello")),
    "a GIF with another suffix": picture("case.png", flat(200), format="GIF"),
    "floating-point pixels": picture("case.tif", flat(0.5, dtype=np.float32)),
    "grey": picture("case.png", flat(200)),
    "black and white": one("case.png", lambda path: Image.fromarray(flat(200)).convert("1").save(path)),
    "16 bits, of the value 65280 = 254 · 257 + 2": picture("case.png", flat(65280, dtype=np.uint16)),
    "12 bits in 16": picture("case.tif", flat(4080, dtype=np.uint16)),
    "colours of 12 bits in 16": one("case.png", deep_colours),
    "32-bit integers of 16 bits": picture("case.tif", flat(65280, dtype=np.int32)),
    "a TIFF of three grey pages": one("case.tif", paged(*(flat(value) for value in (200, 60, 70)))),
    "a TIFF of two pages": one("case.tif", paged(flat(255, 255, 255), flat(200, 60, 60))),
    "a palette": one("case.png", lambda path: Image.fromarray(flat(200, 60, 60)).quantize(4).save(path)),
    "RGBA, transparent": picture("case.png", flat(200, 60, 60, 0)),
    "RGBA, opaque": picture("case.png", flat(200, 60, 60, 255)),
    "grey, transparent": picture("case.png", flat(200, 0), "LA"),
    "CMYK": picture("case.tif", flat(0, 200, 200, 0), "CMYK"),
    "8×6 pixels that the camera was turned for (EXIF)": one("case.png", turned),
    "1×1 pixel": picture("case.png", np.full((1, 1, 3), 200, np.uint8)),
    "8000×8000 pixels": picture("case.png", np.full((8000, 8000), 200, np.uint8)),
    "a size other than the others'": picture("case.png", np.full((30, 40, 3), 200, np.uint8)),
    "the same image under two labels": one("case.png", copy),
    "an image saved again under another label": one("case.png", save_again),
    # classes and parts
    "one image in a class": one("x.png", put, "PLY"),
    "a class missing from the training part": files("folder", "train/LY/a.png", "test/LY/b.png", "test/SNE/c.png"),
    "a class missing from the test part": files("folder", "train/LY/a.png", "train/SNE/b.png", "test/LY/c.png"),
    "a test part without labels": parts(*(f"{i}.png,SNE,train" for i in range(6)), "6.png,,test", "7.png,NaN,test"),
    "no usable training image": rows(label="sne"),
    "no usable test image": parts("0.png,SNE,train", "8.png,SNE,test"),
    "too few images for `data.test_fraction`": rows(test_fraction=0.01),
    "images of a single class, for the classifiers": cross_validated(rows(test_fraction=0.1)),
    "too few images for the classifiers": cross_validated(rows("0.png,LY", "1.png,LY", "2.png,LY", images=(3, 4, 5))),
    "with `data.strict=true`: any that is rejected": rows("8.png,SNE", strict=True),
    "with `data.leaks=stop`: any in `leaks.csv`": one("case.png", copy, leaks="stop"),
    # settings
    "an unknown key": setting("+loss.gama=1"),
    "a value out of range": setting("train.validation=1.0"),
    "a value that is none of the choices": setting("loss.name=hinge"),
    "an unknown profile": setting("profile=smaple"),
    "a mistyped profile of a knob": setting("images.size={report: 224, smaple: 32}"),
    "no row": setting("ladder={}"),
    "`params.yaml` is no YAML": command(configure.main, params=b"a: [1\nb: 2\n"),
    "`params.yaml` is missing": command(configure.main),
    "a row that stands on no row": setting("+ladder.mixup.from=restarts"),
    "an unknown source": setting("data.source=pcb"),
    # commands
    "`classify`: no such model": command(classify),
    "`classify`: a file that is no model": command(classify, model=b"hello"),
    "`classify`: weights of another project": command(classify, model=save({"a": np.zeros(1)})),
}


def expected() -> dict[str, str]:
    """The outcome of each case."""
    lines = EXPECTED.read_text(encoding="utf-8").splitlines()
    table = (re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines if line.startswith("| "))
    return {case: outcome.replace("\\|", "|") for case, outcome in table}


def test_each_case_has_an_expected_outcome():
    assert expected().keys() == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_a_case_ends_as_expected(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    outcome = CASES[case]()
    assert outcome == expected()[case]
    assert "\n" not in outcome
    assert "Traceback" not in outcome
