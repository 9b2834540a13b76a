"""Whatever a person may feed the readers ends in a result or in a UserError.

2,000 examples each (500 archives), always the same ones; `make fuzz` looks at 50,000 others (12,500).
"""

import copy
import io
import os
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import WIDTHS, ifd
from study import study_params
from wbc.cli.fetch import unzip
from wbc.config.resolve import resolve
from wbc.core.errors import UserError
from wbc.dataset.images import decode
from wbc.dataset.listing import ImageFolder, read_rows

thorough = bool(os.environ.get("WBC_FUZZ"))
fuzz = settings(
    max_examples=50_000 if thorough else 2_000,
    derandomize=not thorough,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def survives(function, *arguments):
    """The result, or None after a UserError, whose message must be one line."""
    message = ""
    try:
        return function(*arguments)
    except UserError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    assert " at 0x" not in message  # an address would change rejects.csv from run to run
    return None


@st.composite
def damaged(draw, originals):
    """One of the given byte strings with a few of its bytes overwritten, cut out, doubled or put in."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 8) | st.integers(0, len(content)))
        new = draw(st.binary(max_size=8) | st.just(bytes(content[start : start + length])) | st.just(b""))
        content[start : start + draw(st.sampled_from([len(new), 0, length]))] = new
    return bytes(content)


# --- images


def encoded(image, suffix, **options):
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def small_images():
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8))
    grey, exif = colour.convert("L"), Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(108, dtype=np.uint16).reshape(9, 12) * 600)
    pngs = [colour, grey, deep, colour.quantize(7), colour.convert("RGBA"), grey.convert("LA"), grey.convert("1")]
    yield from (encoded(image, "PNG") for image in pngs)
    yield encoded(colour.quantize(7), "PNG", transparency=3)
    yield encoded(colour, "JPEG", exif=exif)
    yield encoded(colour, "JPEG", progressive=True, dpi=(72, 72))
    yield encoded(colour.convert("CMYK"), "JPEG")
    yield from (encoded(image, "BMP") for image in (colour, grey))
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        yield encoded(colour, "TIFF", compression=compression, exif=exif)
    yield encoded(grey, "TIFF", save_all=True, append_images=[grey, grey])
    yield from (encoded(image, "TIFF") for image in (deep, colour.convert("LAB"), grey.convert("F"), grey.convert("I")))


def resealed(content):
    """A PNG's chunks with right checksums, without which the damage never reaches a decoder; others as they are."""
    content, start = bytearray(content), 8
    while content.startswith(b"\x89PNG") and start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        content[end : end + 4] = zlib.crc32(content[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(content)


@fuzz
@given(damaged(list(small_images())).map(resealed) | st.binary(max_size=64))
def test_a_damaged_image_is_decoded_or_refused(content):
    image = survives(decode, content)
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3)


TURNED = (0x0112, 3, struct.pack("<H", 6))
TAGS = [*range(0x0100, 0x0120), 0x0153, 0x02BC, 0x8769, 0x8825, 0xA005, 0x927C, 0xFFFF]  # some are followed
ENTRY = st.tuples(
    st.sampled_from(TAGS) | st.integers(0, 0xFFFF),
    st.sampled_from(sorted(WIDTHS)) | st.integers(0, 20),
    st.binary(max_size=12) | st.sampled_from([b"", b"72", struct.pack("<I", 70000), struct.pack("<I", 8)]),
)
PIXELS = [  # of a TIFF of 2×2 grey pixels, which are the bytes behind its header
    (0x0100, 3, struct.pack("<H", 2)),
    (0x0101, 3, struct.pack("<H", 2)),
    (0x0102, 3, struct.pack("<H", 8)),
    (0x0103, 3, struct.pack("<H", 1)),
    (0x0106, 3, struct.pack("<H", 1)),
    (0x0111, 4, struct.pack("<I", 8)),
    (0x0117, 4, struct.pack("<I", 4)),
]


@fuzz
@given(st.lists(ENTRY, max_size=4), st.sampled_from(["JPEG", "PNG", "TIFF"]))
def test_whatever_a_cameras_tags_hold_an_image_is_decoded_or_refused(tags, suffix):
    """Turned, so that whoever rewrote the tags would have to write them all."""
    if suffix == "TIFF":
        content = ifd([*PIXELS, TURNED, *tags])
    else:
        content = encoded(Image.new("RGB", (12, 9)), suffix, exif=b"Exif\0\0" + ifd([*tags, TURNED]))
    image = survives(decode, content)
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3)


# --- lists

LISTS = [
    "ID,labels,part\na,SNE,train\nb c.jpg,,test\n".encode("utf-8-sig"),
    b'ID;labels\r\n"a;1";SNE\r\n\r\n/etc/passwd;LY\r\n',
    'labels\tID\nLY\té\nNaN\t"x ""y"" z"\n'.encode(),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name in ("a.png", "a.jpg", "é.png", "b c.jpg"):
        (folder / name).touch()
    return ImageFolder(folder)


@fuzz
@given(
    content=damaged(LISTS) | st.binary(max_size=64) | st.text("ID,labels;\t\n\r\"' \0aé", max_size=64).map(str.encode)
)
def test_a_damaged_list_is_read_or_refused(images, content):
    listed = images.root / "x.csv"
    listed.write_bytes(content)
    rows = survives(read_rows, listed, ["ID", "labels"])
    for row in rows or ():
        assert all(isinstance(value, str) and value == value.strip() for value in row.values())
        found = images.find(row["ID"])
        assert found if isinstance(found, str) else found in images.paths


# --- archives


def zipped(compression):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in (("LY/a.png", b"cell" * 30), ("é/b.png", bytes(range(60))), ("__MACOSX/c", b"")):
            archive.writestr(zipfile.ZipInfo(name), content, compression)  # of no date, so the same bytes always
    return buffer.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sync", lambda: None)  # waits for the whole machine
        place = tmp_path_factory.mktemp("archives") / "in"
        place.mkdir()
        yield place


@settings(fuzz, max_examples=fuzz.max_examples // 4)  # each waits for the disk
@given(damaged([zipped(zipfile.ZIP_STORED), zipped(zipfile.ZIP_DEFLATED)]))
def test_a_damaged_archive_is_unpacked_or_refused_and_leaves_nothing_else(place, content):
    archive, target = place / "a.zip", place / "a"
    archive.write_bytes(content)
    survives(unzip, archive, target)
    assert set(os.listdir(place)) <= {"a.zip", "a"}
    assert os.listdir(place.parent) == ["in"]
    shutil.rmtree(target, ignore_errors=True)


# --- settings

PARAMS = study_params()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-1, 3)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["none", "focal", "cosine", "report", "sample", "efficientnet", "convnext_tiny.fb_in1k"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "name", "loss", "ladder", "x"]) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def damaged_params(draw):
    """params.yaml with up to three of its nodes, at any depth, replaced, taken out or joined by another."""
    params = copy.deepcopy(PARAMS)
    for _ in range(draw(st.integers(1, 3))):
        node = params
        while node:
            key = draw(st.sampled_from(sorted(node, key=str)))
            if isinstance(node[key], dict) and draw(st.booleans()):
                node = node[key]
                continue
            match draw(st.sampled_from(["replace", "remove", "join"])):
                case "replace":
                    node[key] = draw(VALUES)
                case "remove":
                    del node[key]
                case "join":
                    node[draw(st.text("a\n", max_size=4) | st.integers())] = draw(VALUES)
            break
    return params


@fuzz
@given(damaged_params() | VALUES)
def test_damaged_settings_resolve_or_are_refused(params):
    survives(resolve, params)
