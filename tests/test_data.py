"""Images in, splits and pixels out."""

import io
import struct
import zlib

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from conftest import ifd
from wbc.core.classes import CLASSES, TABLE_1
from wbc.core.errors import UserError
from wbc.dataset.images import ImageError, decode, grey_levels, read, read_mask, sha256, write_jpeg
from wbc.dataset.pack import centre_crop, pack, resize
from wbc.dataset.split import draw_test_part, folds, outer_split, tail_split, validation_positions

# --- images

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
RGB = np.dstack([GREY, GREY.T, GREY[::-1]])
PLANES = np.moveaxis(RGB, 2, 0).copy()
DEEP = GREY.astype(np.uint16)


def saved(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def encoded(array, mode=None, format="PNG", **options):
    return saved(Image.fromarray(array, mode), format, **options)


def tiff(data, bits, photometric=1, **tags):
    """A TIFF of 16×16 pixels, uncompressed, with these bytes of pixels; `tags` by hexadecimal number."""

    def header(offset):
        short = {0x100: 16, 0x101: 16, 0x103: 1, 0x106: photometric} | {int(tag[1:], 16): tags[tag] for tag in tags}
        entries = {tag: (3, struct.pack("<H", value)) for tag, value in short.items()}
        entries[0x102] = 3, struct.pack(f"<{len(bits)}H", *bits)
        entries |= {0x111: (4, struct.pack("<I", offset)), 0x117: (4, struct.pack("<I", len(data)))}
        return ifd([(tag, *entries[tag]) for tag in sorted(entries)])

    return header(len(header(0))) + data


def twelve(values):
    """Pairs of 12 bits in three bytes."""
    one, other = values.reshape(-1, 2).T
    return np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], 1).astype(np.uint8).tobytes()


def paged(*pages, format="TIFF", tags=(), **options):
    """A file of several pages; `tags` are those of the later ones."""
    first, *others = (Image.fromarray(page) for page in pages)
    for page in others:
        page.encoderinfo = {"tiffinfo": dict(tags)}
    return saved(first, format, save_all=True, append_images=others, **options)


def png16(*planes):
    """A PNG of red, green, blue and perhaps opacity, which Pillow cannot write."""
    blue_first = [*planes[2::-1], *planes[3:]]
    return cv2.imencode(".png", np.dstack([plane.astype(np.uint16) for plane in blue_first]))[1].tobytes()


CHANNELS = '<Pixels SizeC="3" SizeZ="1" SizeT="1"/>'
QUANTIZED = Image.fromarray(RGB).quantize(256)
OPACITY = np.where(GREY > 9, 255, 0).astype(np.uint8)
ODD_TAGS = [(0x100, 2, b"wide"), (0x102, 4, struct.pack("<I", 70000)), (0x112, 3, b"\6\0"), (0x11A, 2, b"72")]
STORED = {
    "turned, with tags that Pillow cannot write": (encoded(RGB, exif=b"Exif\0\0" + ifd(ODD_TAGS)), np.rot90(RGB, -1)),
    "inks": (encoded(255 - np.dstack([RGB, np.full_like(GREY, 255)]), "CMYK", "TIFF"), RGB),
    "12 bits": (tiff(twelve(DEEP << 4 | DEEP >> 4), [12]), GREY),
    "12 bits in 16, stated": (tiff((DEEP << 4 | DEEP >> 4).tobytes(), [16], x119=4095), GREY),
    "16 bits, the brightest stated": (tiff((DEEP * 257).tobytes(), [16], x119=60000), GREY),
    "16 bits, most significant first": (encoded((DEEP * 257).astype(">u2"), format="TIFF"), GREY),
    "16 bits, 0 for white": (tiff((65535 - DEEP * 257).tobytes(), [16], 0), GREY),
    "16 bits in a PNG": (encoded(DEEP * 257), GREY),
    "32 bits": (tiff((DEEP * np.uint32(0x01010101)).tobytes(), [32]), GREY),
    "8 bits, 0 for white": (tiff((255 - GREY).tobytes(), [8], 0), GREY),
    "1 bit, 0 for white": (tiff(np.packbits(GREY <= 127).tobytes(), [1], 0), np.where(GREY > 127, 255, 0)),
    "colours of 16 bits": (png16(*PLANES * np.uint16(257)), RGB),
    "opaque colours of 16 bits": (png16(*PLANES * np.uint16(257), np.full((16, 16), 65535)), RGB),
    "red, green and blue pages": (paged(*PLANES), RGB),
    "pages described as channels": (paged(*PLANES, tiffinfo={0x10E: CHANNELS}), RGB),
    "pages of 16 bits": (paged(*PLANES * np.uint16(257)), RGB),
    "a page and its thumbnail": (paged(RGB, RGB[::4, ::4], tags={0xFE: 1}), RGB),
    "a camera's JPEG of two views": (paged(np.full_like(RGB, 90), RGB, format="MPO"), np.full_like(RGB, 90)),
    "a palette": (saved(QUANTIZED), np.array(QUANTIZED.convert("RGB"))),
    "transparent, over white": (encoded(np.dstack([RGB, OPACITY])), np.where(OPACITY[..., None], RGB, 255)),
    "opaque grey": (encoded(np.dstack([GREY, np.full_like(GREY, 255)])), GREY),
}


@pytest.mark.parametrize(("content", "original"), STORED.values(), ids=STORED)
def test_an_image_stored_otherwise_is_its_8_bit_original(content, original):
    assert (decode(content) == (original if original.ndim == 3 else original[..., None])).all()


def claiming(width, height):
    """A PNG of a few bytes that claims this size."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"
    sealed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


INFLATING = PngInfo()
INFLATING.add_text("note", " " * 2_000_000, zip=True)
SLICES = {0x10E: "ImageJ=1.53\nslices=3\n"}
COLOURS = tuple(range(256)) * 3
REFUSED = {
    "12 bits in 16": (tiff((DEEP << 4).tobytes(), [16]), "unknown white: 16-bit pixels of 0 to 4080"),
    "more than stated": (tiff((DEEP << 5).tobytes(), [16], x119=4095), "unknown white: 16-bit pixels of 0 to 8160"),
    "16 bits in 32": (encoded(GREY.astype(np.int32) << 8, format="TIFF"), "unknown white: 32-bit pixels of 0 to 65280"),
    "below 0": (tiff((-DEEP.astype(np.int32)).tobytes(), [32], x153=2), "unknown white: 32-bit pixels of -255 to 0"),
    "colours of 12 bits in 16": (png16(*PLANES * np.uint16(16)), "unknown white: 16-bit colours"),
    "16-bit planes": (tiff(bytes(1536), [16] * 3, 2, x115=3, x11c=2), "unreadable image: 16-bit colours in separate"),
    "bits that Pillow does not read": (tiff(bytes(320), [10]), "unreadable image: a TIFF with"),
    "a blank page first": (paged(np.full_like(RGB, 255), RGB), "several pages: 2; expected one, or three grey ones"),
    "three pages of colours": (paged(RGB, RGB, RGB), "several pages: 3"),
    "three pages of two sizes": (paged(GREY, GREY, GREY[:8]), "several pages: 3"),
    "three slices": (paged(GREY, GREY, GREY, tiffinfo=SLICES), "several pages: 3"),
    "an animation": (paged(RGB, RGB[::-1].copy(), format="PNG"), "several pages: 2"),
    "no opaque pixel": (encoded(np.dstack([RGB, GREY // 128])), "transparent: no pixel is even half opaque"),
    "a palette of 8 bits": (encoded(GREY, "P", "TIFF", tiffinfo={0x140: COLOURS}), "unknown white: a palette of 16"),
    "large": (claiming(8001, 8000), "too large: 8001×8000 pixels, more than 64,000,000"),
    "very large": (claiming(100_000, 100_000), "too large: more than 64,000,000 pixels"),
    "inflating": (encoded(GREY, pnginfo=INFLATING), "unreadable image: Decompressed data too large"),
}


@pytest.mark.parametrize(("content", "why"), REFUSED.values(), ids=REFUSED)
def test_an_image_that_cannot_be_used_is_refused_with_the_reason(content, why):
    with pytest.raises(ImageError) as error:
        decode(content)
    assert str(error.value).startswith(why)


def test_grey_levels_are_those_of_the_richest_channel():
    assert grey_levels(np.dstack([GREY // 16, GREY.T // 4, GREY // 128])) == 64


def test_a_changed_or_missing_image_is_noticed(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(RGB))
    assert (read(tmp_path / "a.png", sha256(encoded(RGB))) == RGB).all()
    with pytest.raises(ImageError, match="changed since it was ingested"):
        read(tmp_path / "a.png", sha256(encoded(GREY)))
    with pytest.raises(ImageError, match="No such file"):
        read(tmp_path / "b.png", "")


def test_a_figure_keeps_its_colours(tmp_path):
    write_jpeg(tmp_path / "a.jpg", np.full((16, 16, 3), (200, 30, 30), np.uint8))
    assert decode((tmp_path / "a.jpg").read_bytes())[8, 8] == pytest.approx((200, 30, 30), abs=5)


# --- masks

MASK = np.array([[0, 1, 2, 1]], np.uint8)
BRIGHT = MASK * np.uint8(128) - (MASK == 2)


def palette(pixels, colours):
    """A palette image whose indices are in another order than its colours."""
    image = Image.fromarray(2 - pixels, "P")
    image.putpalette([value for colour in reversed(colours) for value in colour])
    return image


MASKS = {
    "0, 1, 2": Image.fromarray(MASK),
    "0, 128, 255": Image.fromarray(BRIGHT),
    "palette of 0, 1, 2": palette(MASK, [[0] * 3, [1] * 3, [2] * 3]),
    "palette of 0, 128, 255": palette(MASK, [[0] * 3, [128] * 3, [255] * 3]),
    "16 bits of 0, 1, 2": Image.fromarray(MASK.astype(np.uint16)),
    "16 bits": Image.fromarray(BRIGHT * np.uint16(257)),
    "colours": Image.fromarray(BRIGHT).convert("RGB"),
    "opaque": Image.fromarray(BRIGHT).convert("RGBA"),
}


@pytest.mark.parametrize("image", MASKS.values(), ids=MASKS)
def test_a_mask_is_read_by_its_grey_values_however_it_is_stored(tmp_path, image):
    image.save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", (1, 4))
    assert (mask.dtype, mask.tolist()) == (np.uint8, MASK.tolist())


NO_MASKS = {
    "coloured": (saved(palette(MASK, [[0, 0, 0], [128, 0, 0], [0, 128, 0]])), "a mask has one channel of 0, 1, 2 or"),
    "other values": (encoded(MASK + np.uint8(5)), "a mask has one channel of 0, 1, 2 or 0, 128, 255"),
    "transparent": (encoded(np.dstack([BRIGHT, BRIGHT])), "a mask has one channel of 0, 1, 2 or 0, 128, 255"),
    "size": (encoded(MASK.T.copy()), "1×4 pixels for an image of 4×1 pixels"),
    "no image": (b"hello", "not a JPEG"),
}


@pytest.mark.parametrize(("content", "why"), NO_MASKS.values(), ids=NO_MASKS)
def test_another_image_is_no_mask(tmp_path, content, why):
    (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(ImageError, match=rf"m\.png: {why}"):
        read_mask(tmp_path / "m.png", (1, 4))


# --- splits

POOL = {  # labelled images per class of WBCBench 2026: 38,535
    "SNE": 17354, "LY": 10801, "MO": 3661, "BL": 2683, "EO": 1148, "MY": 588, "BA": 554, "BNE": 522, "VLY": 488,
    "MMY": 480, "PMY": 152, "PC": 90, "PLY": 14,
}  # fmt: skip


def images_of(counts, group=""):
    """A training part of so many single images of each class."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    return numbered(pd.DataFrame({"label": labels, "part": "train", "group": group, "copy_of": ""}))


def numbered(*tables):
    manifest = pd.concat(tables, ignore_index=True)
    return manifest.assign(id=manifest.index.astype(str), sha256=manifest.index.astype(str))


def spread(split, manifest):
    """Images of each class, in columns, in the parts of a split."""
    return manifest.groupby([split, "label"]).size().unstack(fill_value=0)


@pytest.mark.parametrize("seed", [1, 205])
def test_the_pools_training_part_has_table_1s_counts(seed):
    pool = images_of(POOL)
    assert spread(draw_test_part(pool, 0.25, seed), pool).loc[False].to_dict() == TABLE_1


def test_a_split_depends_on_content_and_seed_not_on_names_and_order():
    images = images_of({"SNE": 200, "LY": 40})
    renamed = images[::-1].assign(id="z" + images["id"]).reset_index(drop=True)
    splits = [lambda m, seed: draw_test_part(m, 0.25, seed), lambda m, seed: folds(m, 5, seed), validation_positions]
    for split in splits:
        first, again, other = split(images, 1), split(renamed, 1)[::-1].reset_index(drop=True), split(images, 2)
        assert first.equals(again)
        assert not first.equals(other)


def test_validation_fractions_are_the_reports_and_nested():
    manifest = images_of(TABLE_1)
    position = validation_positions(manifest, 1)
    counts = spread(position < 0.15, manifest).loc[True]
    assert (counts["PLY"], counts["PC"]) == (2, 10)  # report §7.6
    assert all(abs(counts[c] - 0.15 * n) <= 0.5 for c, n in TABLE_1.items())
    assert set(manifest.index[position < 0.15]) < set(manifest.index[position < 0.20])


def test_folds_are_even_in_size_and_class_and_leave_test_images_out():
    manifest = images_of(TABLE_1)
    manifest.loc[0, ["part", "label"]] = "test", ""
    fold = folds(manifest, 5, 1)
    assert (fold[0], pd.isna(validation_positions(manifest, 1)[0])) == (-1, True)
    counts = spread(fold[1:], manifest[1:])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_outer_folds_test_every_image_once_and_never_divide_a_group():
    """Two draws of three folds of images in both parts of the source, two without a label."""
    images = images_of(dict.fromkeys(CLASSES, 40))
    images.loc[::2, "part"] = "test"
    images.loc[[0, 1], ["label", "part"]] = ["", "test"]
    images.loc[images.index[-6:], "group"] = "one patient"
    tested = np.stack([outer_split(images, 3, repeat, seed=1)["part"] == "test" for repeat in range(6)])
    assert (tested.reshape(2, 3, -1)[:, :, 2:].sum(1) == 1).all()
    assert (tested[0] != tested[3]).any()
    assert tested[:, :2].all()
    assert (tested[:, -6:].all(1) == tested[:, -6:].any(1)).all()
    assert np.ptp((tested & (images["label"] == "LY").to_numpy()).sum(1)) <= 1
    assert outer_split(images, 0, 5, seed=1) is images


def test_a_tail_trains_on_a_fraction_of_table_1_and_tests_all_else_with_copies_together():
    """Six classes, one of them short; ten copies of a rare class's image, which has two to train on."""
    sizes = {"SNE": 2000, "LY": 900, "EO": 300, "BA": 60, "PMY": 40, "PLY": 5}
    images = images_of(sizes)
    rare = images.index[images["label"] == "PMY"]
    images.loc[rare[1:11], "copy_of"] = images["id"][rare[0]]
    images.loc[len(images)] = {**images.loc[0]} | {"id": "unlabelled", "sha256": "0", "label": "", "part": "test"}
    split = tail_split(images, 0.02, seed=1)
    train = split[split["part"] == "train"]
    assert train["label"].value_counts().to_dict() == {"SNE": 260, "LY": 162, "EO": 17, "BA": 8, "PMY": 2, "PLY": 1}
    assert (split["part"].iloc[-1], len(split)) == ("test", len(images))
    assert split.loc[rare[:11], "part"].nunique() == 1
    again, other = (
        set(it.index[it["part"] == "train"]) for it in (tail_split(images[::-1], 0.02, 1), tail_split(images, 0.02, 2))
    )
    assert again == set(train.index) != other
    assert tail_split(images, 0.0, seed=1) is images
    with pytest.raises(UserError, match=r"^split.tail = 0.2: BA has 60 images and would train 83; at most 0.11 leaves"):
        tail_split(images, 0.2, seed=1)


def assert_together(manifest, units):
    """Every split keeps the images of one unit together."""
    position = validation_positions(manifest, 1)
    for split in (folds(manifest, 5, 1), position < 0.15, position < 0.2, draw_test_part(manifest, 0.25, 1)):
        assert (split.groupby(units).nunique() == 1).all()


@pytest.mark.parametrize("columns", [["copy_of"], ["group"], ["copy_of", "group"]])
def test_copies_and_groups_stay_together_and_single_images_make_up_for_it(columns):
    """In units whose images are copies, of one group, or the second a copy of the first and of the others' group."""
    manifest = images_of(TABLE_1).sample(3000, random_state=0).sort_index().reset_index(drop=True)
    units = manifest["id"].copy()
    for label, many in (("SNE", 40), ("SNE", 3), ("LY", 2), ("MO", 2), ("MO", 2), ("EO", 5)):
        rows = manifest.index[(manifest["label"] == label) & ~units.duplicated(keep=False)][:many]
        units[rows] = manifest["id"][rows[0]]
        if "copy_of" in columns:
            manifest.loc[rows[1 : 2 if "group" in columns else None], "copy_of"] = units[rows[0]]
        if "group" in columns:
            manifest.loc[rows[len(columns) - 1 :], "group"] = units[rows[0]]
    assert_together(manifest, units)
    assert np.ptp(spread(folds(manifest, 5, 1), manifest), axis=0).max() <= 1
    single = manifest.assign(copy_of="", group="")
    assert spread(draw_test_part(manifest, 0.25, 1), manifest).equals(spread(draw_test_part(single, 0.25, 1), single))
    taken = spread(validation_positions(manifest, 1) < 0.15, manifest)
    missed = (taken.loc[True] - 0.15 * taken.sum()).abs()
    assert missed["SNE"] <= 20  # half of the largest unit
    assert missed.drop("SNE").max() <= 2.5


def test_patients_with_many_classes_stay_together_and_classes_are_spread():
    rng = np.random.default_rng(0)
    fractions = np.array([TABLE_1[c] for c in CLASSES]) / sum(TABLE_1.values())
    patients = [rng.multinomial(rng.integers(20, 200), rng.dirichlet(20 * fractions)) for _ in range(100)]
    manifest = numbered(*(images_of(dict(zip(CLASSES, n, strict=True)), f"p{i}") for i, n in enumerate(patients)))
    assert_together(manifest, manifest["group"])
    sizes = manifest["label"].value_counts()
    common = sizes.index[sizes > 500]
    counts = spread(draw_test_part(manifest, 0.25, 1), manifest)
    assert (counts / sizes).loc[True, common].between(0.23, 0.27).all()
    assert (counts.loc[False] > 0).all()
    assert (spread(folds(manifest, 5, 1), manifest) / sizes)[common].stack().between(0.17, 0.23).all()


def test_every_class_keeps_a_unit_in_training():
    single = images_of({"PLY": 1, "LY": 9})
    test = draw_test_part(single, 0.6, 1)
    assert not test[0]  # though its 0.4 of a seat in training loses against the 0.6 that LY has left
    assert test.sum() == 5
    assert validation_positions(single, 1)[0] == 0.5
    units = {"a": {"SNE": 40, "LY": 40}, "b": {"BA": 1, "SNE": 30}, "c": {"BA": 1, "LY": 30}}  # b and c pull BA
    manifest = numbered(*(images_of(counts, group) for group, counts in units.items()))
    test = draw_test_part(manifest, 0.5, 1)
    assert test.any()
    assert "BA" in set(manifest[~test]["label"])


# --- pixels


def packed(folder, images, size, crop=1.0):
    """The pixels that `pack` makes of these images."""
    files = {folder / f"{i}.png": encoded(image) for i, image in enumerate(images)}
    for path, content in files.items():
        path.write_bytes(content)
    pack(pd.DataFrame({"path": list(files), "sha256": map(sha256, files.values())}), size, folder / "x.npy", crop)
    return np.load(folder / "x.npy")


def test_packing_keeps_order_and_colour(tmp_path):
    colours = np.diag([250] * 3).astype(np.uint8)
    pixels = packed(tmp_path, [np.tile(colour, (10, 20 + i, 1)) for i, colour in enumerate(colours)], 8)
    assert (pixels.shape, pixels.dtype) == ((3, 8, 8, 3), np.uint8)
    assert (pixels[:, 4, 4] == colours).all()


def test_packing_keeps_the_central_fraction(tmp_path):
    image = np.zeros((20, 41, 3), np.uint8)
    image[5:15, 10:31] = 200  # half of either axis: 10 of 20 rows, 21 of 41 columns (20.5 is rounded up)
    half, more, whole = (packed(tmp_path, [image], 8, crop)[0] for crop in (0.5, 0.55, 1.0))
    assert (half == 200).all()
    assert more.min() < 200
    assert (whole == resize(image, 8)).all()
    assert centre_crop(image[:1, :1], 0.1).shape == (1, 1, 3)  # never nothing


def test_shrinking_averages_and_growing_interpolates():
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::4] = 200
    assert (resize(stripes, 4) == 50).all()  # nearest or bilinear sampling would miss every stripe
    assert (resize(stripes[:2], 4) == 50).all()  # also where the other axis grows
    assert resize(stripes, 32).shape == (32, 32, 3)
