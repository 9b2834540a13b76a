"""`python -m wbc classify --html`: the page of the classified cells, in a browser."""

import base64
import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from conftest import SIZES
from pictures import put
from wbc.__main__ import main
from wbc.classical.model import save_classical
from wbc.cli import cells_page
from wbc.cli.cells_page import class_counts, write_page
from wbc.cli.classify import NOVEL, Prediction
from wbc.core import parallel
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.dataset.images import decode
from wbc.dataset.pack import centre_crop, resize
from wbc.models.model import Model, save_blend
from wbc.network.explain import SIDE, layer_cam_maps
from wbc.network.model import save_model
from wbc.network.pixels import Pixels
from wbc.segment import method

CPU = torch.device("cpu")
BAD = "no whole cell found"
CELLS = [
    Prediction("in/cell10.png", "LY", 0.9, "BL", 0.1),
    Prediction("in/cell9.png", "SNE", 0.5504, "BL", 0.1),
    Prediction("in/sub/a.png", "SNE", 0.8, "BL", 0.1, NOVEL),
    Prediction("in/sub/b.png", "MO", 0.9996, "BL", 0.1, f"{NOVEL}; {BAD}"),
    Prediction("in/z.png", "SNE", 0.5496, "BL", 0.1),
    Prediction("in/sub/<b>.png", note="<empty>"),
]
NEED = ["sub/a.png", "sub/b.png", "z.png", "cell9.png", "cell10.png"]  # with a note, then the least certain


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel, "cpu_count", lambda: 1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def open_cells(open_file):
    """Open the page of `CELLS`, whose model has no masks and no network."""

    def open_cells(cells=CELLS):
        put(Path("."), *(each.image for each in cells if each.label))
        write_page(Path("out.html"), cells, Model(), "<m>", CPU)
        return open_file(Path("out.html").resolve())

    return open_cells


@pytest.fixture
def classify(trained, classical, smear, open_file):
    """Classify drawn cells and files with odd names by a model, and open the page; the network crops."""
    save_model("network.safetensors", trained._replace(crop=0.5))
    save_classical("classical.skops", classical)
    save_blend("blend.zip", Path("network.safetensors"), Path("classical.skops"), (0.5, 0.5))
    shutil.copytree(smear, "in")
    cv2.imwrite("in/wide.png", cv2.resize(cv2.imread("in/00000000.jpg"), (600, 370)))
    shutil.copy("in/grey.png", "in/\"'<img src=x onerror=alert(1)>&amp;.png")
    shutil.copy("in/grey.png", b"in/\xff.png")
    Path("in/broken.jpg").write_bytes(b"")

    def classify(model, *options, view=()):
        with pytest.raises(SystemExit, match=r"^error: 1 of 9 files could not be read; the notes say why$"):
            main(["classify", "in", "--model", model, "--html", "out.html", *options])
        return open_file(Path("out.html").resolve(), *view)

    return classify


def shown(page):
    return page.locator("#cells li:visible code").all_inner_texts()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_what_the_table_has_fits_the_screen_and_is_accessible(classify, capsys, size, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = classify("blend.zip", "--out", "out.csv", view=(size, scheme))
    assert capsys.readouterr().out == "9 cells in out.csv\n9 cells in out.html\n"
    table = {row["image"]: row for row in csv.DictReader(Path("out.csv").read_text("utf-8").splitlines())}
    assert table.pop("in/broken.jpg")["note"] == "empty file"
    for name in shown(page):  # quotes, tags and bytes that are no UTF-8 too
        row, cell = table.pop(f"in/{name}"), page.locator("#cells li").filter(has=page.get_by_text(name, exact=True))
        first, second = (f"{100 * float(row[p]):.1f}%" for p in ("probability", "runner_up_probability"))
        pairs = cell.locator(".pair").all_inner_texts()
        assert [text.split() for text in pairs] == [[row["label"], first], ["then", row["runner_up"], second]]
        assert cell.get_attribute("data-note") == row["note"]
    assert not table
    page.keyboard.press("o")
    page.keyboard.press("h")
    load = "images => Promise.all(images.map(it => Object.assign(new Image(), { src: it.href.baseVal }).decode()))"
    page.locator("image").evaluate_all(load)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("model", ["blend.zip", "network.safetensors", "classical.skops"])
def test_a_button_and_a_key_show_outlines_with_masks_and_heat_maps_with_a_network(classify, capsys, model):
    page = classify(model)
    assert capsys.readouterr().out == "9 cells in out.html\n"  # without the table
    for key, selector, without in (("o", "#cells path", "network"), ("h", "image + image", "classical")):
        button, drawn = page.locator(f"button[aria-keyshortcuts={key}]"), page.locator(selector)
        assert (drawn.count() > 4) == button.count() == (without not in model)
        states = []
        for press in (lambda _: None, page.keyboard.press, lambda _, it=button: it.click()) if button.count() else ():
            press(key)
            states.append((button.get_attribute("aria-pressed"), {each.is_visible() for each in drawn.all()}))
        assert states == [("false", {False}), ("true", {True}), ("false", {False})][: len(states)]
    for key in "oh":
        page.locator("[name=low]").press(key)  # a field keeps its keys, and the browser its own
        page.locator("summary").press(f"Control+{key}")
    assert page.locator("[aria-pressed=true]").count() == 0


def test_outlines_and_heat_maps_lie_on_their_cells(classify, trained):
    page = classify("blend.zip")
    page.keyboard.press("o")
    page.keyboard.press("h")
    cell, image = page.locator("li", has_text="wide.png"), decode(Path("in/wide.png").read_bytes())
    place = "it => (({ x, y, width, height }) => [x, y, width, height])(it.getBoundingClientRect())"
    thumbnail, heat_map, outline = (np.array(it.evaluate(place)) for it in cell.locator("svg > *").all())
    corner, size = np.append(thumbnail[:2], [0, 0]), np.tile(thumbnail[2:], 2)
    assert size[0] / size[1] == pytest.approx(600 / 370, abs=0.02)
    assert (heat_map - corner) / size == pytest.approx([0.25, 0.25, 0.5, 0.5], abs=0.01)
    expected = cv2.boundingRect(method("polar").segment(image)) / np.array([600, 370, 600, 370])
    assert (outline - corner) / size == pytest.approx(expected, abs=0.02)
    contents = [base64.b64decode(it.get_attribute("href").partition(",")[2]) for it in cell.locator("image").all()]
    small, drawn = (cv2.imdecode(np.frombuffer(it, np.uint8), cv2.IMREAD_UNCHANGED) for it in contents)
    assert small.shape == (59, 96, 3)
    assert small[..., ::-1].mean((0, 1)) == pytest.approx(image.mean((0, 1)), abs=3)
    pixels = Pixels(resize(centre_crop(image, 0.5), 32)[None], np.arange(1), CPU)
    label = np.array([CLASSES.index(cell.get_attribute("data-label"))])
    (heat,) = layer_cam_maps(trained, pixels, np.arange(1), label)
    expected = cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_AREA) * 0.7 * 255
    assert np.abs(drawn[..., 3] - expected).max() < 1 < expected.max()


def test_a_backbone_without_a_feature_map_leaves_the_heat_maps_out(classify, monkeypatch, capsys):
    def refuse(*_):
        raise UserError("swin: has no feature map")

    monkeypatch.setattr(cells_page, "layer_cam_maps", refuse)
    assert "Heat map" not in classify("network.safetensors").inner_text("body")
    assert "no heat maps: swin: has no feature map\n" in capsys.readouterr().err


def test_cells_are_sorted_and_filtered_and_the_counts_stay(open_cells):
    page = open_cells()
    counts = page.inner_text("header")
    for fields, expected in [
        ({}, NEED),
        ({"sort": "probability"}, ["z.png", "cell9.png", "sub/a.png", "cell10.png", "sub/b.png"]),
        ({"sort": "label"}, ["sub/a.png", "z.png", "cell9.png", "cell10.png", "sub/b.png"]),  # SNE, LY, MO
        ({"sort": "file"}, ["cell9.png", "cell10.png", "sub/a.png", "sub/b.png", "z.png"]),
        ({"label": "SNE"}, ["sub/a.png", "z.png", "cell9.png"]),
        ({"note": "any"}, NEED[:2]),
        ({"note": "none"}, NEED[2:]),
        ({"note": NOVEL}, NEED[:2]),
        ({"note": BAD}, ["sub/b.png"]),
        ({"low": "55", "high": "90"}, ["sub/a.png", "z.png", "cell9.png", "cell10.png"]),  # z.png reads 55.0%
        ({"low": "", "high": ""}, NEED),
        ({"label": "SNE", "note": "none", "high": "54"}, []),
    ]:
        for name, value in fields.items():
            field = page.locator(f"[name={name}]")
            field.fill(value) if name in ("low", "high") else field.select_option(value)
        assert shown(page) == expected
        assert page.inner_text("#shown") == f"{len(expected)} of 5 cells"
        page.get_by_role("button", name="Reset").press("Enter")
        page.get_by_text("5 of 5 cells").wait_for()
    assert page.inner_text("header") == counts


@pytest.mark.parametrize("maximum", [3, 5])
def test_a_page_shows_the_cells_that_need_a_look_and_counts_all(open_cells, monkeypatch, maximum):
    monkeypatch.setattr(cells_page, "MAXIMUM", maximum)
    page = open_cells()
    assert shown(page) == NEED[:maximum]
    assert (f"The page shows {maximum} of 5 cells" in page.inner_text("main")) == (maximum < 5)
    assert page.locator(".figures dd").all_inner_texts() == ["5", "2", "1"]
    assert page.get_by_label("Notes").inner_text() == f"2 {NOVEL}\n1 {BAD}"
    assert "SNE segmented neutrophil\t3\t60.0\t23.1–88.2" in page.get_by_label("Counts").inner_text()
    page.locator("summary").press("Enter")
    assert page.get_by_label("Files that could not be read").inner_text() == "sub/<b>.png: <empty>"


def test_a_page_without_a_readable_file_is_written(open_cells):
    assert open_cells(CELLS[-1:]).inner_text("#shown") == "0 of 0 cells"


def test_percentages_have_wilson_intervals(classical):
    counts = class_counts(["LY"] * 2 + ["SNE"] * 8, Model(classical=classical))
    assert [each[:3] for each in counts[:3]] == [("SNE", 8, 80), ("LY", 2, 20), ("MO", 0, 0)]
    by_hand = [(49.02, 94.33), (5.67, 50.98), (0, 27.75)]  # (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    assert [each[3:] for each in counts[:3]] == [pytest.approx(each, abs=0.01) for each in by_hand]
    assert [each.label for each in counts] == list(CLASSES[:-1])  # the model cannot predict the last class
    assert class_counts([], Model()) == []
