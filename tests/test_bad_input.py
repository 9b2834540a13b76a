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
from study import study_params, write_settings
from wbc.__main__ import main as wbc
from wbc.classical.table import read_training
from wbc.core.io import write_csv
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


# --- a source: data/raw/images/0.png … 7.png and what a case makes of them


def source(build, layout="folder", **knobs):
    """What ingesting makes of data/raw after `build(data/raw)`."""

    def outcome():
        for i in range(8):
            put(f"data/raw/images/{i}.png")
        build(Path("data/raw"))
        params = study_params()
        params["data"] |= {"source": layout, **knobs}
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
        counts = manifest.groupby(["label", "part"]).size().unstack(fill_value=0)
        return "used: " + ", ".join(
            f"{row.Index or 'no label'} {row.train} + {row.test}" for row in counts.itertuples()
        )

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


def rows(*lines, header="ID,labels", label="SNE", images=range(8)):
    """Lists the images, all under one label, and then `lines`."""
    listed = [f"{i}.png,{label}" for i in images]
    return lambda root: (root / "labels.csv").write_text("\n".join([header, *listed, *lines]) + "\n", encoding="utf-8")


def bytes_of(change):
    """Lists the images in a file whose bytes are then changed."""

    def build(root):
        rows()(root)
        (root / "labels.csv").write_bytes(change((root / "labels.csv").read_bytes()))

    return source(build)


def one(name, make):
    """Lists one more image, which `make(path)` puts there."""

    def build(root):
        rows(f"{name},LY")(root)
        make(root / "images" / name)

    return source(build)


def picture(name, pixels, mode=None, **options):
    return one(name, lambda path: put(path, pixels, mode, **options))


def folders(*names):
    def build(root):
        shutil.rmtree(root / "images")
        for name in names:
            put(root / name)

    return source(build)


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
    def make(path):
        put("data/outside.png")
        path.symlink_to(target)

    return one("case.png", make)


def same_content(root):
    rows("case.png,LY")(root)
    shutil.copy(root / "images/0.png", root / "images/case.png")


def saved_again(root):
    """Of 20 times the size, since a perceptual hash says nothing of 8×6 pixels that were compressed."""
    same_content(root)
    for name in ("0", "case"):
        large = Image.open(root / f"images/{name}.png").resize((160, 120), Image.Resampling.BICUBIC)
        large.save(root / f"images/{name}.png", "PNG" if name == "0" else "JPEG")


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


def two_files(root):
    rows("x,SNE")(root)
    for suffix in ("png", "jpg"):
        put(root / f"images/x.{suffix}")


def hidden(root):
    write_csv(root / "train.csv", ["ID", "labels"], [(f"{i}.png", "SNE") for i in range(4)])
    put(root / "images/._4.png")


def unlisted(root):
    for path in list((root / "images").iterdir()):
        path.rename(root / path.name)


def one_list_of_three(root):
    write_csv(root / "phase1_label.csv", ["ID", "labels"], [("0.png", "SNE")])


def other_part(name):
    lines = ("0.png,SNE,train", f"1.png,SNE,{name}", "2.png,SNE,test")
    return source(rows(*lines, header="ID,labels,part", images=()))


def no_usable_test(root):
    rows("0.png,SNE,train", "8.png,SNE,test", header="ID,labels,part", images=())(root)


def one_of_a_class(root):
    rows("x.png,PLY")(root)
    put(root / "images/x.png")


def unlabelled_test(root):
    lines = (*(f"{i}.png,SNE,train" for i in range(6)), "6.png,,test", "7.png,NaN,test")
    rows(*lines, header="ID,labels,part", images=())(root)


def kaggle(*tables):
    """The tables of a competition, by name, over the images."""

    def build(root):
        for name, listed in tables:
            write_csv(root / name, ["ID", "labels"], [(f"{i}.png", "SNE") for i in listed])

    return source(build, "kaggle")


def named(file, id):
    """A file of one name, listed under another."""
    return source(lambda root: (put(root / "images" / file), rows(f"{id},LY")(root)))


def public(name, *files, text=(), **knobs):
    """An archive of a public set: image files and (name, content) of others."""

    def build(root):
        empty(root)
        for file in files:
            put(root / file)
        for file, content in text:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(content)

    return source(build, name, **knobs)


def two_sources(root):
    empty(root)
    for n in range(3):
        put(root / f"pbc/lymphocyte/LY_{n}.png")
    (root / "folder/test/LY").mkdir(parents=True)
    shutil.copy(root / "pbc/lymphocyte/LY_0.png", root / "folder/test/LY/seen.png")


PBC = ("lymphocyte/LY_1.png", "lymphocyte/LY_2.png", "monocyte/MO_1.png")
LMU = tuple(f"{code}/{code}_{n:04}.tiff" for code in ("LYT", "MON") for n in (1, 2, 3))
LISTED = "".join(f"{name} {name[:3]} nan nan\n" for name in LMU)
SIGNED = tuple(f"Patient_{n}/Signed slides/Monocyte/MO_{n}.jpg" for n in range(3))


# --- what comes after


def cross_validated(build, **knobs):
    """Reading the training features of a source."""

    def outcome():
        source(build, **knobs)()
        split.main("0")
        (FEATURES / "study").mkdir(parents=True)
        mark(FEATURES / "study", "study")
        pd.DataFrame({"feature": 0.0}, index=read_manifest()["id"]).to_parquet(FEATURES / "study/v1.parquet")
        return f"stops: `{message(lambda: read_training('v1', 0))}`"

    return outcome


def setting(key, value):
    """What `configure` says to params.yaml with one value replaced."""

    def outcome():
        params = study_params()
        *parents, last = key.split(".")
        node = params
        for parent in parents:
            node = node[parent]
        node[last] = value
        with open("params.yaml", "w") as file:
            YAML().dump(params, file)
        return f"stops: `{message(configure.main)}`"

    return outcome


def params_file(text):
    def outcome():
        if text is not None:
            Path("params.yaml").write_text(text)
        return f"stops: `{message(configure.main)}`"

    return outcome


def command(*arguments, content=None):
    """`python -m wbc` with the file `model.safetensors` of the given content."""

    def outcome():
        put("cells/a.png")
        if content is not None:
            Path("model.safetensors").write_bytes(content)
        return f"stops: `{message(lambda: wbc(arguments))}`"

    return outcome


CASES = {
    # folders
    "an empty folder": source(empty),
    "a missing folder": source(shutil.rmtree),
    "images neither listed nor in a folder per class": source(unlisted),
    "`labels.csv` without `images/`": source(lambda root: (rows()(root), shutil.rmtree(root / "images"))),
    "a folder that is named after no class": folders("LY/a.png", "LY/b.png", "LY/c.png", "Lymphocyte/d.png"),
    "hidden files and folders beside three images of a class": folders(
        "LY/a.png", "LY/b.png", "LY/c.png", "LY/._a.png", ".trash/a.png"
    ),
    "`wbcbench`: a list is missing": source(one_list_of_three, "wbcbench"),
    "`kaggle`: no list": kaggle(),
    "`kaggle`: two lists": kaggle(("train.csv", range(4)), ("train_old.csv", range(4))),
    "`kaggle`: no sample submission, and hidden files beside the images": source(hidden, "kaggle"),
    "`pbc`: unpacked twice, one in the other, with hidden files": public(
        "pbc", *(f"PBC/PBC/{name}" for name in PBC), text=[("neutrophil/.DS_1.jpg", ""), ("__MACOSX/ig/._x.jpg", "")]
    ),
    "`pbc`: a folder that the set does not have": public("pbc", *PBC, "smudge/SMU_1.png", "smudge/SMU_2.png"),
    "`pbc`: still packed": public("pbc", text=[("PBC_dataset_normal_DIB.zip", "")]),
    "`pbc`: labels of none of our classes alone": public("pbc", "platelet/PLATELET_1.png"),
    "`aml_lmu`: no list": public("aml_lmu", *LMU),
    "`aml_lmu`: two lists": public("aml_lmu", *LMU, text=[("annotations.dat", ""), ("old/annotations.dat", "")]),
    "`aml_lmu`: a line of another kind": public("aml_lmu", *LMU, text=[("annotations.dat", f"path\n{LISTED}")]),
    "`aml_lmu`: mirrored copies": public("aml_lmu", *LMU, "augmented/LYT_1.tiff", text=[("annotations.dat", LISTED)]),
    "`aml_lmu`: a listed image that is not there": public("aml_lmu", *LMU[1:], text=[("annotations.dat", LISTED)]),
    "`aml_lmu`: a label that is not the folder's": public(
        "aml_lmu", *LMU, text=[("annotations.dat", LISTED.replace("0001.tiff LYT", "0001.tiff MON"))]
    ),
    "`aml_lmu`: an image that is not listed": public(
        "aml_lmu", *LMU, "LYT/LYT_0004.tiff", text=[("annotations.dat", LISTED)]
    ),
    "`mll23`: a class still packed": public("mll23", "lymphocyte/1.tif", text=[("monocyte.zip", "")]),
    "`apl_aml`: an unsigned slide": public("apl_aml", *SIGNED, "Patient_3/Unsigned slides/LY_1.jpg"),
    "`apl_aml`: an image in another place": public("apl_aml", *SIGNED, "Patient_3/Monocyte/MO_3.jpg"),
    "`wbcbench_hf`: not unpacked": public("wbcbench_hf", text=[("pristine/phase1_train-0.parquet", "")]),
    "with `data.strict=true`: a part of an archive": public("mll23", "lymphocyte/1.tif", strict=True),
    "several sources: one trains on what another tests": source(two_sources, ["pbc", "folder"]),
    "several sources: one is not there": source(lambda root: None, ["pbc", "mll23"]),
    # lists
    "a byte-order mark": bytes_of(lambda content: b"\xef\xbb\xbf" + content),
    "semicolons": bytes_of(lambda content: content.replace(b",", b";")),
    "tabs": bytes_of(lambda content: content.replace(b",", b"\t")),
    "Windows' line ends (CRLF)": bytes_of(lambda content: content.replace(b"\n", b"\r\n")),
    "old Mac line ends (CR)": bytes_of(lambda content: content.replace(b"\n", b"\r")),
    "more columns, in another order": bytes_of(lambda content: re.sub(rb"(.+),(.+)", rb"x,\2,\1", content)),
    "values between quotation marks": bytes_of(lambda content: re.sub(rb"[^,\n]+", rb'"\g<0>"', content)),
    "blanks around the values": bytes_of(lambda content: content.replace(b",", b" , ")),
    "blank lines": bytes_of(lambda content: content.replace(b"\n", b"\n\n,\n")),
    "no content": bytes_of(lambda content: b""),
    "a header only": source(rows(images=())),
    "a column is missing": source(rows(header="ID,class")),
    "a column's name in another case": source(rows(header="ID,Labels")),
    "a column twice": source(rows(header="ID,labels,labels")),
    "an unquoted comma": source(rows("a,b.png,SNE")),
    "a quotation mark left open": source(rows('8.png,"SNE')),
    "UTF-16": bytes_of(lambda content: content.decode().encode("utf-16")),
    # what a list says
    "no label": source(rows("0.png,", images=range(1, 8))),
    "the label `NaN`": source(rows("0.png,NaN", images=range(1, 8))),
    "an unknown label": source(rows("0.png,Lymphocyte", images=range(1, 8))),
    "a label in lower case": source(rows("0.png,sne", images=range(1, 8))),
    "another part than `train` or `test`": other_part("dev"),
    "a validation part": other_part("Validation"),
    "no id": source(rows(",SNE")),
    "an id twice": source(rows("0.png,SNE")),
    "an id twice, with two labels": source(rows("0.png,LY")),
    "two ids of one file": source(rows("0,SNE")),
    "an id without suffix": source(rows("0,SNE", images=range(1, 8))),
    "an id without suffix, of two files": source(two_files),
    "a file that does not exist": source(rows("8.png,SNE")),
    "a file of another format": source(lambda root: (rows("8.webp,SNE")(root), put(root / "images/8.webp"))),
    "an absolute path": source(rows("/cells/8.png,SNE")),
    "an absolute path of Windows": source(rows("C:\\cells\\8.png,SNE")),
    "a path with `..`": source(rows("../images/0.png,SNE", images=range(1, 8))),
    "a link to a file outside the folder": link("../../outside.png"),
    "a link to nothing": link("gone.png"),
    "a link to itself": link("case.png"),
    "a pipe": one("case.png", os.mkfifo),
    "blanks and any script in a name": named("zellen 1/白 血球.png", "zellen 1/白 血球.png"),
    "é in one piece in the list, in two in the file's name": named("e\u0301.png", "é.png"),
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
    "the same image under two labels": source(same_content),
    "an image saved again under another label": source(saved_again),
    # classes and parts
    "one image in a class": source(one_of_a_class),
    "a class missing from the training part": folders("train/LY/a.png", "test/LY/b.png", "test/SNE/c.png"),
    "a class missing from the test part": folders("train/LY/a.png", "train/SNE/b.png", "test/LY/c.png"),
    "a test part without labels": source(unlabelled_test),
    "no usable training image": source(rows(label="sne")),
    "no usable test image": source(no_usable_test),
    "too few images for `data.test_fraction`": source(rows(), test_fraction=0.01),
    "images of a single class, for the classifiers": cross_validated(rows(), test_fraction=0.1),
    "too few images for the classifiers": cross_validated(rows("0.png,LY", "1.png,LY", "2.png,LY", images=(3, 4, 5))),
    "with `data.strict=true`: any that is rejected": source(rows("8.png,SNE"), strict=True),
    "with `data.leaks=stop`: any in `leaks.csv`": source(same_content, leaks="stop"),
    # settings
    "an unknown key": setting("loss.gama", 1),
    "a value out of range": setting("train.validation", 1.0),
    "a value that is none of the choices": setting("loss.name", "hinge"),
    "an unknown profile": setting("profile", "smaple"),
    "a mistyped profile of a knob": setting("images.size", {"report": 224, "smaple": 32}),
    "no row": setting("ladder", {}),
    "`params.yaml` is no YAML": params_file("a: [1\nb: 2\n"),
    "`params.yaml` is missing": params_file(None),
    "a row that stands on no row": setting("ladder.mixup.from", "restarts"),
    "an unknown source": setting("data.source", "pcb"),
    # commands
    "`classify`: no such model": command("classify", "cells", "--model", "model.safetensors"),
    "`classify`: a file that is no model": command(
        "classify", "cells", "--model", "model.safetensors", content=b"hello"
    ),
    "`classify`: weights of another project": command(
        "classify", "cells", "--model", "model.safetensors", content=save({"a": np.zeros(1)})
    ),
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
