"""Whatever a person may feed the readers ends in a result or in a UserError.

2,000 examples each, always the same ones; `make fuzz` looks at 50,000 others.
"""

import copy
import io
import os
import re
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from study import study_params
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
    try:
        return function(*arguments)
    except UserError as error:
        message = str(error)
    assert re.fullmatch(r".+", message)
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
    tiffs = [deep, colour.convert("LAB"), grey.convert("F"), grey.convert("I")]
    for format, images in {"PNG": pngs, "BMP": [colour, grey], "TIFF": tiffs}.items():
        yield from (encoded(image, format) for image in images)
    yield encoded(colour.quantize(7), "PNG", transparency=3)
    yield encoded(colour, "JPEG", exif=exif)
    yield encoded(colour.convert("CMYK"), "JPEG", progressive=True, dpi=(72, 72))
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        yield encoded(colour, "TIFF", compression=compression, exif=exif)
    yield encoded(grey, "TIFF", save_all=True, append_images=[grey, grey])


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


TEXT = st.text("ID,labels;\t\n\r\"' \0aé", max_size=64).map(str.encode)


@fuzz
@given(content=damaged(LISTS) | st.binary(max_size=64) | TEXT)
def test_a_damaged_list_is_read_or_refused(images, content):
    listed = images.root / "x.csv"
    listed.write_bytes(content)
    for row in survives(read_rows, listed, ["ID", "labels"]) or ():
        assert all(isinstance(value, str) and value == value.strip() for value in row.values())
        found = images.find(row["ID"])
        assert found if isinstance(found, str) else found in images.paths


# --- settings

PARAMS = study_params()
NAMES = st.sampled_from(["none", "focal", "cosine", "report", "sample", "efficientnet", "model", "name", "ladder"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-1, 3) | st.floats() | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged_params(draw):
    """params.yaml with up to three of its nodes, at any depth, replaced, taken out or joined by another."""
    params = copy.deepcopy(PARAMS)
    for _ in range(draw(st.integers(1, 3))):
        node, key = params, draw(st.sampled_from(sorted(params, key=str))) if params else "x"
        while isinstance(node.get(key), dict) and node[key] and draw(st.booleans()):
            node = node[key]
            key = draw(st.sampled_from(sorted(node, key=str)))
        if draw(st.booleans()):
            node[draw(st.just(key) | st.text("a\n", max_size=4) | st.integers())] = draw(VALUES)
        else:
            node.pop(key, None)
    return params


@fuzz
@given(damaged_params() | VALUES)
def test_damaged_settings_resolve_or_are_refused(params):
    survives(resolve, params)
