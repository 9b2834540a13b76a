"""Shared by all tests: pinned numerics, small settings, small models and the tiny study."""

import functools
import os
import shutil
import struct

import pytest

from wbc.core.compute import pin

pin(threads=1, isa="avx2")  # before NumPy and PyTorch are imported
os.environ.setdefault("TQDM_DISABLE", "1")

import cv2
import numpy as np
import torch
from filelock import FileLock

from stages import ingest
from study import alone, clone, make, pack, study_params, write_settings
from wbc.classical.model import Classical, fit_reference
from wbc.classical.models import classifiers
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.io import write_csv
from wbc.dataset.images import decode
from wbc.features import feature_set
from wbc.network import reference
from wbc.network.model import Network, build
from wbc.network.pixels import Part, Pixels
from wbc.segment import method
from wbc.sources.wbcbench import LISTS
from wbc.synthetic import draw

SIZES = {"desktop": (1400, 900), "phone": (390, 844)}


def pytest_collection_modifyitems(items):
    for item in items:
        if "study" in item.fixturenames:
            item.add_marker("study")


@pytest.fixture
def params():
    """params.yaml without what somebody added to the study; free to change."""
    return study_params()


@pytest.fixture
def tiny_row(params):
    """Settings of a training that takes seconds."""
    params["profile"] = "sample"
    values = resolve(params)["train/convnext_restarts"]
    values["model"] |= {"name": "test_convnext", "weights": "none"}
    values["train"] |= {"epochs": 4, "patience": 4, "batch_size": 8}
    values["schedule"]["period"] = 2
    return Training(**values)


@pytest.fixture
def ingest_stage(tmp_path, monkeypatch, params, capsys):
    """The stage in an empty folder: run with settings of `data`, it returns what is printed, as one line."""
    monkeypatch.chdir(tmp_path)

    def run(**data):
        params["data"] |= data
        write_settings(params, "ingest")
        ingest.main("study")
        return " ".join(capsys.readouterr().out.split())

    return run


@pytest.fixture
def coloured():
    """40 images of 32×32 in two colours with their targets, 0 and 1: what a network learns at once."""
    rng = np.random.default_rng(0)
    targets = np.arange(40) % 2
    colours = np.array([[200, 60, 60], [60, 60, 200]])[targets][:, None, None]
    images = (colours + rng.integers(-30, 30, (40, 32, 32, 3))).astype(np.uint8)
    pixels = Pixels(images, np.arange(40), torch.device("cpu"))
    return Part(np.arange(40).astype(str), pixels, torch.from_numpy(targets))


@pytest.fixture
def trained(tiny_row, coloured):
    """A network that knows where `coloured` lies; untrained otherwise."""
    torch.manual_seed(0)
    model, normalisation = build(tiny_row.model)
    known = reference.fit_reference(model.backbone, normalisation, coloured, coloured)
    return Network(model.eval(), tiny_row.model_dump(exclude_none=True), normalisation, 32, known, temperature=0.4)


@pytest.fixture(scope="session")
def smear(tmp_path_factory):
    """Four drawn cells, and a grey image without one, as files."""
    folder = tmp_path_factory.mktemp("smear")
    cells(["SNE", "LY", "MO", "EO"], folder)
    cv2.imwrite(str(folder / "grey.png"), np.full((40, 30, 3), 200, np.uint8))
    return folder


@pytest.fixture(scope="session")
def measured(smear):
    """(5, 120) features of the smear, as the stages `segment` and `features` measure them."""
    images = [decode(path.read_bytes()) for path in sorted(smear.iterdir())]
    return np.stack([feature_set("v3").extract(image, method("polar").segment(image)) for image in images])


@pytest.fixture(scope="session")
def classical(measured):
    """LDA on features around the smear's, of all classes but the last."""
    target, fold = np.arange(120) % 12, np.arange(120) // 12 % 5
    features = measured[np.arange(120) % 4] + measured.std(0) * np.random.default_rng(0).normal(size=(120, 120))
    model = classifiers("hist", False, 0)["lda"].fit(features, target)
    return Classical("v3", "polar", model, 0.5, fit_reference(features, target, fold))


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The tiny study, made once; a test leaves it as it was, or works in a clone.

    Each process of pytest-xdist has a clone of the one that the first of them made, and shares its cache.
    """
    path = tmp_path_factory.getbasetemp() / "study"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(path)
    first = tmp_path_factory.getbasetemp().parent / "study"
    with FileLock(first.with_suffix(".lock")):
        if not first.exists():
            make(first)
    return clone(first, path, cache=first)


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A folder with what one training needs, of the row `alone` and few images; a test works in a copy."""
    path = tmp_path_factory.mktemp("packed")
    pack(path, alone)
    return path


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium or Chrome."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        pytest.skip("pages are tested in Chromium, which is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_file(browser):
    """Open a page without a network. Nothing may be logged."""
    logged, contexts = [], []

    def open_file(path, size="desktop", scheme="light", at=""):
        width, height = SIZES[size]
        contexts.append(
            browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
        )
        page = contexts[-1].new_page()
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("request", lambda request: logged.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri() + at)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert logged == []


def cells(labels, folder, first=0):
    """Drawn 368×370 JPEGs of the given classes in `folder`; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{first + i:08d}.jpg" for i in range(len(labels))]
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        image, _ = draw(label, 370, np.random.default_rng([first, i]))
        (folder / name).write_bytes(cv2.imencode(".jpg", image[:, 1:-1, ::-1])[1])
    return names


WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of TIFF's types


def ifd(tags):
    """A TIFF header and one directory of (tag, type, the values' bytes), as EXIF blocks are too; nothing is checked."""
    entries, long = b"", b""
    for tag, kind, value in tags:
        held = value.ljust(4, b"\0")
        if len(value) > 4:
            held = struct.pack("<I", 8 + 2 + 12 * len(tags) + 4 + len(long))
            long += value
        entries += struct.pack("<HHI", tag, kind, len(value) // WIDTHS.get(kind, 1)) + held
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + long


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """By `data.source`, a small archive in its layout: few classes, PLY with one image, some in one part alone."""
    return functools.cache(lambda source: ARCHIVES[source](tmp_path_factory.mktemp(source)))


def wbcbench(root):
    for i, (name, part) in enumerate(zip(LISTS, ("phase1", "phase2/train", "phase2/eval"), strict=True)):
        labels = ["SNE"] * 8 + ["LY"] * 4 + ["BNE"] * 2 + ["PLY"] * (i == 0)
        ids = cells(labels, root / part, 1000 * i)
        rows = [(n, id, label, part, 7) for n, (id, label) in enumerate(zip(ids, labels, strict=True))]
        write_csv(root / name, ["", "ID", "labels", "split", "site"], rows)  # as a saved table, with a column more
    ids = cells(["MO"] * 2, root / "phase2/test", 9000)
    write_csv(root / "phase2_test.csv", ["ID", "split"], [(id, "test") for id in ids])
    return root


def kaggle(root):
    labels = ["SNE"] * 12 + ["LY"] * 6 + ["BL"] * 4 + ["PLY"]
    train, test = cells(labels, root / "images/train"), cells(["LY", "SNE", "MO"], root / "images/test", 500)
    rows = [(name.removesuffix(".jpg"), label) for name, label in zip(train, labels, strict=True)]
    write_csv(root / "train.csv", ["ID", "labels"], rows)
    sample = [(name.removesuffix(".jpg"), "SNE") for name in reversed(test)]
    write_csv(root / "sample_submission.csv", ["ID", "labels"], sample)
    return root


def folder(root):
    parts = {"train": {"SNE": 12, "LY": 6, "BL": 4, "PLY": 1}, "test": {"SNE": 4, "LY": 2, "MO": 2}}
    for i, (part, counts) in enumerate(parts.items()):
        for j, (label, count) in enumerate(counts.items()):
            cells([label] * count, root / part / label, 1000 * i + 100 * j)
    return root


ARCHIVES = {"wbcbench": wbcbench, "kaggle": kaggle, "folder": folder}
