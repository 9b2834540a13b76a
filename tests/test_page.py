"""The page of the tiny study in a browser."""

import csv
import json
import re
from collections import Counter

import pytest
import yaml

from conftest import SIZES
from wbc.scoring.predictions import read_predictions


@pytest.fixture
def open_page(open_file, study):
    """Open the page and wait until all charts are drawn."""

    def open_page(*size_and_scheme, at=""):
        page = open_file(study / "plots/report.html", *size_and_scheme, at=at)
        page.wait_for_selector("body[data-ready]")
        return page

    return open_page


@pytest.fixture
def measured(study):
    return json.loads((study / "metrics/results.json").read_text())


@pytest.fixture
def rows(study):
    return list(yaml.safe_load((study / "settings/report.yaml").read_text())["networks"])


@pytest.fixture
def best(rows, measured):
    return max(rows, key=lambda row: measured[row]["val_f1"])


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(study, name, part="test"):
    """Ids, true classes and predicted classes of the labelled images of a part."""
    file = {"v2-gridsearch": "v2-0/gridsearch", "best": "best-0"}.get(name, f"{name}-0/predict")
    found = read_predictions(study / f"runs/{file}/predictions.npz", part)
    known = found.target >= 0
    return found.ids[known].tolist(), found.target[known].tolist(), found.probabilities.argmax(1)[known].tolist()


def right(study, name):
    """By id, whether a model is right on a test cell."""
    return {id: actual == found for id, actual, found in zip(*predicted(study, name), strict=True)}


def wait_for(page, selector, count):
    page.wait_for_function("([it, n]) => document.querySelectorAll(it).length === n", arg=[selector, count])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_complete_fits_the_screen_and_is_accessible(open_page, study, size, scheme):
    from axe_playwright_python.sync_playwright import Axe

    assert (study / "plots/report.html").stat().st_size < 5e6
    page = open_page(size, scheme)
    charts, drawn = page.locator(".chart"), page.locator(".chart svg")
    assert charts.count() == drawn.count() == 10
    assert all(drawn.nth(i).bounding_box()["height"] > 100 for i in range(10))
    assert page.locator("table").count() == 17
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0 && image.alt)"
    assert page.locator("img").evaluate_all(loaded)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut_off = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.ariaLabel)"
    assert size == "phone" or page.locator(".wide").evaluate_all(cut_off) == []  # on a phone, tables scroll in a box
    assert "base64" not in page.locator("svg").evaluate_all("all => all.map(svg => svg.outerHTML).join()")  # read aloud
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_tables_show_numbers_on_a_phone_and_their_names_stay_while_they_scroll(open_page):
    page = open_page("phone")
    places = "cells => cells.map(cell => cell.getBoundingClientRect().x)"
    assert max(page.locator("thead th:nth-child(2)").evaluate_all(places)) < SIZES["phone"][0]
    wide = page.get_by_role("region", name="All models")
    before = wide.locator("tbody th").evaluate_all(places)
    wide.evaluate("region => region.scrollLeft = 200")
    assert wide.locator("tbody th").evaluate_all(places) == before


def test_the_head_names_the_best_model_its_test_score_and_interval(open_page, study, measured):
    winner = max(measured, key=lambda name: measured[name]["val_f1"])
    (line,) = (line for line in table(study / "plots/results.csv") if line["row"] == winner)
    lead = open_page().locator(".lead").inner_text()
    assert winner in lead
    for name in ("test_f1", "test_f1_low", "test_f1_high"):
        assert f"{float(line[name]):.3f}" in lead


def test_confusions_open_on_the_test_part_and_a_model_is_chosen_by_keyboard(open_page, study, rows):
    def check(name):
        """Each pair has the percentage of the true class and the number of images; the diagonal is always there."""
        _, target, found = predicted(study, name)
        images, pairs = Counter(target), Counter(zip(target, found, strict=True))
        pairs.update({(label, label): 0 for label in images})
        percent = [f"{int(100 * count / images[actual] + 0.5)}%" for (actual, _), count in pairs.items()]
        expected = sorted(percent + [str(count) for count in pairs.values()])
        texts = "#confusion svg .mark-text.role-mark text"
        wait_for(page, texts, len(expected))
        assert sorted(page.locator(texts).all_text_contents()) == expected
        assert f"{name}, test, {len(target)} images" in select.locator("option:checked").inner_text()

    page = open_page()
    select = page.locator("select[data-charts=confusion]")
    assert ", test" in select.input_value()
    select.focus()
    page.keyboard.type("v2-gridsearch, t")
    assert select.input_value() == "v2-gridsearch, test"
    check("v2-gridsearch")
    for name in ("best", *rows):
        select.select_option(f"{name}, test")
        check(name)


def test_a_row_is_chosen_for_the_curves_and_the_projection(open_page, study, rows):
    page = open_page()
    page.select_option("select[data-charts='f1 loss']", "final")
    for chart in ("f1", "loss"):
        epochs = len(table(study / "runs/final-0/train/history.csv"))
        wait_for(page, f"#{chart} svg .mark-symbol.role-mark path", 2 * epochs)
    for row in rows[:2]:
        page.select_option("select[data-charts=projection]:not([data-signal])", row)
        points = page.locator("#projection svg .mark-symbol.role-mark path")
        expected = table(study / f"runs/{row}-0/embed/points.csv")  # fewer of each class than the page shows
        wait_for(page, "#projection svg .mark-symbol.role-mark path", len(expected))
    points.last.scroll_into_view_if_needed()
    points.last.hover(force=True)
    picture = page.locator("#vg-tooltip-element img")
    picture.wait_for(state="visible")
    assert picture.evaluate("image => image.naturalWidth") > 0
    words = page.locator("#vg-tooltip-element").inner_text().split()
    shown = words[words.index("label") + 1], words[words.index("id") + 1]
    assert shown in [(line["label"], line["id"]) for line in expected]
    page.select_option("select[data-signal=marked]", "LY")
    page.wait_for_function("document.querySelector('#projection svg path[opacity=\"0.08\"]')")
    pale = "paths => paths.filter(path => path.getAttribute('opacity') < 0.5).length"
    assert points.evaluate_all(pale) == sum(line["label"] != "LY" for line in expected)


def test_two_models_are_compared_on_the_cells_of_a_part(open_page, study, measured):
    page = open_page(at="#compare?a=v2-gridsearch&on=test")
    page.select_option("[name=b]", "final")
    grid, final = right(study, "v2-gridsearch"), right(study, "final")
    only = {"a": [id for id in grid if grid[id] > final[id]], "b": [id for id in grid if grid[id] < final[id]]}
    scores = [measured[name]["test_f1"] for name in ("v2-gridsearch", "final")]
    text = page.locator("#compared").inner_text()
    assert f"v2-gridsearch {scores[0]:.3f}, final {scores[1]:.3f}" in text
    numbers = [float(it.replace("−", "-")) for it in re.findall(r"[−+][0-9.]+[0-9]", text)]
    assert numbers[0] == pytest.approx(scores[1] - scores[0], abs=0.001)
    assert numbers[1] < numbers[0] < numbers[2]
    assert f"Both are right on {sum(grid[id] and final[id] for id in grid)} of {len(grid)}" in text
    for side, row in (("a", "v2-gridsearch"), ("b", "final")):
        assert page.locator(f"#only-{side}").inner_text().startswith(f"Only {row} is right: {len(only[side])} of ")
        shown = page.locator(f"#cells-{side} li").evaluate_all("all => all.map(one => one.title)")
        assert shown == only[side][:24]


def test_mistakes_are_filtered_sorted_and_explained(open_page, study, best):
    page = open_page()
    wrong = [id for id, is_right in right(study, best).items() if not is_right]
    assert page.locator("#mistaken").inner_text().startswith(f"{len(wrong)} of {len(right(study, best))} (")
    shown, words = page.locator("#cells-mistaken li"), "all => all.map(one => one.textContent)"
    assert shown.count() == min(24, len(wrong))
    surest = [int(text.split()[-1].removesuffix("%")) for text in shown.evaluate_all(words)]
    assert surest == sorted(surest, reverse=True)
    if len(wrong) > 24:  # the button shows more and moves the focus there
        page.locator("#cells-mistaken + button").focus()
        page.keyboard.press("Enter")
        assert shown.count() > 24
        assert page.evaluate("document.activeElement.parentNode.id") == "cells-mistaken"
    page.select_option("[name=first]", "unsure")
    assert int(shown.first.inner_text().split()[-1].removesuffix("%")) <= surest[-1]
    page.select_option("[name=with]", "mask")
    assert page.locator("#cells-mistaken svg path[d^=M]").count() > 0.8 * shown.count()
    page.select_option("[name=with]", "evidence")
    assert page.locator("#cells-mistaken canvas").count() == shown.count()
    label = shown.first.inner_text().split()[0]
    page.select_option("[name=actual]", label)
    assert shown.count() >= 1
    assert {text.split()[0] for text in shown.all_inner_texts()} == {label}


def test_a_link_restores_the_choices(open_page):
    page = open_page()
    assert "#" not in page.url
    page.select_option("[name=confusion]", "v2-gridsearch, test")
    page.select_option("[name=part]", "validation")
    page.select_option("[name=predicted]", "LY")
    link = page.url.partition("#")[2]
    assert link == "mistakes?confusion=v2-gridsearch%2C+test&part=validation&predicted=LY"
    other = open_page(at=f"#{link}")
    for name in ("#mistaken", "#cells-mistaken", "#confusion svg"):
        assert other.locator(name).text_content() == page.locator(name).text_content()
    assert other.evaluate("document.getElementById('mistakes').getBoundingClientRect().top") < SIZES["desktop"][1]
    other.select_option("[name=part]", "test")
    assert "part=" not in other.url  # the default is left out
    plain = open_page(at="#labels")  # the page above grows after the browser has scrolled there
    assert 0 <= plain.evaluate("document.getElementById('labels').getBoundingClientRect().top") < 100
    for odd in ("#nowhere?model=none&x=%", "#mistakes?model=<b>", "#?", "#?%22]=1"):
        open_page(at=odd)
