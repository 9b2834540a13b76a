"""The report's page in a real browser, as the tiny study leaves it."""

import csv
import json
import re
import shutil
from collections import Counter

import pytest
import yaml

from wbc.scoring.predictions import read_predictions

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium, which is not installed")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, study):
    """Opens the page without a network and waits until all charts are drawn; afterwards nobody has complained."""
    logged, contexts = [], []

    def open_page(size="desktop", scheme="light", at=""):
        width, height = SIZES[size]
        contexts.append(
            browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
        )
        page = contexts[-1].new_page()
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("request", lambda request: logged.append(request.url) if request.url.startswith("http") else None)
        page.goto((study / "plots/report.html").as_uri() + at)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert logged == []


def rows(study):
    return list(yaml.safe_load((study / "settings/report.yaml").read_text())["networks"])


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def texts(page, chart):
    return page.locator(f"#{chart} svg .mark-text.role-mark text").all_text_contents()


def test_the_page_is_one_small_file(study):
    assert (study / "plots/report.html").stat().st_size < 5e6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_fits_and_has_no_fault_that_axe_finds(open_page, size, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(size, scheme)
    charts = page.locator(".chart")
    drawn = page.locator(".chart svg")
    assert charts.count() == drawn.count() == 10
    assert all(drawn.nth(i).bounding_box()["height"] > 100 for i in range(10))
    assert page.locator("table").count() == 17  # Tables 1 to 8, results, masks, models, text, differences, …
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0 && image.alt)"
    assert page.locator("img").evaluate_all(loaded)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # only tables and matrices scroll
    assert "base64" not in page.locator("svg").evaluate_all("all => all.map(svg => svg.outerHTML).join()")  # read aloud
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def predicted(study, name, part):
    """Ids, true classes and predicted ones of the labelled images of a part."""
    run, file = ("v2-0", "gridsearch") if name == "v2-gridsearch" else (f"{name}-0", "predict")
    found = read_predictions(study / f"runs/{run}/{file}/predictions.npz", part)
    known = found.target >= 0
    return found.ids[known].tolist(), found.target[known].tolist(), found.probabilities.argmax(1)[known].tolist()


def matrix(study, name, part):
    """What a confusion matrix should show: of each pair the percent of the true class, and how many images."""
    _, target, found = predicted(study, name, part)
    of_class = Counter(target)
    pairs = Counter(zip(target, found, strict=True))
    percent = [f"{int(100 * count / of_class[actual] + 0.5)}%" for (actual, _), count in pairs.items()]
    return sorted(percent + [str(count) for count in pairs.values()])


def best(study):
    measured = json.loads((study / "metrics/results.json").read_text())
    return max(rows(study), key=lambda row: measured[row]["val_f1"])


def test_a_model_is_chosen_by_the_keyboard_and_its_confusions_are_drawn(open_page, study):
    page = open_page()
    select = page.locator("select[data-charts=confusion]")
    select.focus()
    page.keyboard.type("v2-gridsearch")
    assert select.input_value() == "v2-gridsearch, test"
    wait_for(page, "#confusion svg .mark-text.role-mark text", len(expected := matrix(study, "v2-gridsearch", "test")))
    assert sorted(texts(page, "confusion")) == expected
    for row in rows(study):
        select.select_option(f"{row}, test")
        wait_for(page, "#confusion svg .mark-text.role-mark text", len(expected := matrix(study, row, "test")))
        assert sorted(texts(page, "confusion")) == expected
        images = len(predicted(study, row, "test")[0])
        assert f"{row}, test, {images} images" in select.locator("option:checked").inner_text()


def wait_for(page, selector, count):
    page.wait_for_function("([it, n]) => document.querySelectorAll(it).length === n", arg=[selector, count])


def test_what_was_measured_here_begins_on_the_screen_of_a_phone(open_page):
    page = open_page("phone")
    for name in page.locator("table").evaluate_all("tables => tables.map(table => table.getAttribute('aria-label'))"):
        heads = page.locator(f"table[aria-label='{name}'] thead th")
        ours = heads.filter(has_text=re.compile("^(val F1|here.*|cell: Dice)$"))
        assert ours.count(), name
        box = ours.first.bounding_box()
        assert box["x"] + box["width"] <= SIZES["phone"][0], name
    wide = page.get_by_role("region", name="All rows")
    before = wide.locator("tbody th").first.bounding_box()["x"]
    wide.evaluate("region => region.scrollLeft = 200")
    assert wide.locator("tbody th").first.bounding_box()["x"] == before  # the rows' names stay


def test_the_results_have_their_intervals_and_differences(open_page, study):
    page = open_page()
    intervals = page.locator("table[aria-label='All rows'] small").filter(has_text="–")
    assert intervals.count() >= 3 * len(rows(study))
    differences = page.locator("table[aria-label^='Differences'] tbody tr")
    assert differences.count() == len(table(study / "plots/differences.csv"))
    points = page.locator("#reliability svg .mark-symbol.role-mark path")
    assert points.count() == sum(line["row"] == best(study) for line in table(study / "plots/reliability.csv"))


def test_a_cell_shows_itself_when_pointed_at(open_page, study):
    page = open_page()
    for row in rows(study)[:2]:
        page.select_option("select[data-charts=projection]:not([data-signal])", row)
        points = page.locator("#projection svg .mark-symbol.role-mark path")
        expected = table(study / f"runs/{row}-0/embed/points.csv")  # fewer of each class than the page shows
        wait_for(page, "#projection svg .mark-symbol.role-mark path", len(expected))
    points.last.scroll_into_view_if_needed()
    points.last.hover(force=True)
    picture = page.locator("#vg-tooltip-element img")
    picture.wait_for(state="visible")
    assert picture.evaluate("image => image.naturalWidth") > 0
    logged = page.locator("#vg-tooltip-element").inner_text().split()
    assert {"label": logged[logged.index("label") + 1], "id": logged[logged.index("id") + 1]} in [
        {"label": row["label"], "id": row["id"]} for row in expected
    ]


def test_a_class_stands_out_when_chosen(open_page, study):
    page = open_page()
    page.select_option("select[data-signal=marked]", "LY")
    pale = "paths => paths.filter(path => path.getAttribute('opacity') < 0.5).length"
    shown = page.locator("#projection svg .mark-symbol.role-mark path")
    row = page.locator("select[data-charts=projection]:not([data-signal])").input_value()
    labels = [line["label"] for line in table(study / f"runs/{row}-0/embed/points.csv")]
    page.wait_for_function("document.querySelector('#projection svg path[opacity=\"0.08\"]')")
    assert shown.evaluate_all(pale) == len(labels) - labels.count("LY")


def test_a_row_is_chosen_for_both_curves(open_page, study):
    page = open_page()
    page.select_option("select[data-charts='f1 loss']", "freeze")
    epochs = len(table(study / "runs/freeze-0/train/history.csv"))
    for chart in ("f1", "loss"):
        wait_for(page, f"#{chart} svg .mark-symbol.role-mark path", 2 * epochs)


def right(study, name):
    """By id, whether a model is right on a test cell."""
    return {id: actual == found for id, actual, found in zip(*predicted(study, name, "test"), strict=True)}


def test_two_rows_are_compared_on_the_cells_of_a_part(open_page, study):
    page = open_page(at="#compare?a=v2-gridsearch&on=test")
    page.select_option("[name=b]", "final")
    grid, final = right(study, "v2-gridsearch"), right(study, "final")
    only = {"a": [id for id in grid if grid[id] > final[id]], "b": [id for id in grid if grid[id] < final[id]]}
    measured = json.loads((study / "metrics/results.json").read_text())
    said = page.locator("#compared").inner_text()
    assert (
        f"v2-gridsearch {measured['v2-gridsearch']['test_f1']:.3f}, of final {measured['final']['test_f1']:.3f}" in said
    )
    numbers = re.search(r": ([−+][0-9.]+) \(95% ([−+][0-9.]+) to ([−+][0-9.]+)\), an interval (.+?)\.", said)
    difference, low, high = (float(number.replace("−", "-")) for number in numbers.groups()[:3])
    assert difference == pytest.approx(measured["final"]["test_f1"] - measured["v2-gridsearch"]["test_f1"], abs=0.001)
    assert low < difference < high
    assert numbers[4] == ("above 0" if low > 0 else "below 0" if high < 0 else "that holds 0")
    assert f"Both are right on {sum(grid[id] and final[id] for id in grid)} of {len(grid)}" in said
    for side, row in (("a", "v2-gridsearch"), ("b", "final")):
        assert page.locator(f"#only-{side}").inner_text().startswith(f"Only {row} is right: {len(only[side])} of ")
        shown = page.locator(f"#cells-{side} li").evaluate_all("all => all.map(one => one.title)")
        assert shown == only[side][:24]


def test_mistakes_are_filtered_sorted_and_explained(open_page, study):
    page = open_page(at="#mistakes?part=test")
    wrong = [id for id, is_right in right(study, best(study)).items() if not is_right]
    assert page.locator("#mistaken").inner_text().startswith(f"{len(wrong)} of {len(right(study, best(study)))} (")
    shown, words = page.locator("#cells-mistaken li"), "all => all.map(one => one.textContent)"
    assert shown.count() == min(24, len(wrong))
    surest = [int(text.split()[-1].removesuffix("%")) for text in shown.evaluate_all(words)]
    assert surest == sorted(surest, reverse=True)
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


def test_more_cells_are_shown_when_asked_for_and_the_keyboard_goes_on_there(open_page, study):
    worst = min(rows(study), key=lambda row: sum(right(study, row).values()))
    page = open_page(at=f"#mistakes?row={worst}&part=test")
    shown, button = page.locator("#cells-mistaken li"), page.get_by_role("button", name=re.compile("Show [0-9]+ more"))
    assert shown.count() == 24
    button.focus()
    page.keyboard.press("Enter")
    assert shown.count() > 24
    assert button.count() == 0
    assert page.evaluate("document.activeElement.parentNode.id") == "cells-mistaken"


def test_a_link_shows_what_was_chosen(open_page):
    page = open_page()
    assert "#" not in page.url
    page.select_option("[name=confusion]", "v2-gridsearch, test")
    page.select_option("[name=part]", "test")
    page.select_option("[name=predicted]", "LY")
    link = page.url.partition("#")[2]
    assert link == "mistakes?confusion=v2-gridsearch%2C+test&part=test&predicted=LY"
    said = [page.locator(f"#{part}").inner_text() for part in ("mistaken", "cells-mistaken")]
    other = open_page(at=f"#{link}")
    assert [other.locator(f"#{part}").inner_text() for part in ("mistaken", "cells-mistaken")] == said
    assert texts(other, "confusion") == texts(page, "confusion")
    assert other.evaluate("document.getElementById('mistakes').getBoundingClientRect().top") < SIZES["desktop"][1]
    other.select_option("[name=part]", "validation")
    assert "part=" not in other.url  # what is shown anyway is left out
    plain = open_page(at="#labels")  # the cells above have come since the browser went there
    assert 0 <= plain.evaluate("document.getElementById('labels').getBoundingClientRect().top") < 100
    for odd in ("#nowhere?row=none&x=%", "#mistakes?row=<b>", "#?", "#?%22]=1"):
        open_page(at=odd)


def test_doubtful_labels_have_their_cells(open_page, study):
    listed = table(study / "plots/labels.csv")
    shown = open_page().locator("section[aria-labelledby=labels] li code")
    assert shown.all_inner_texts() == [line["id"] for line in listed[:48]]
    assert len(listed) > 2
    assert (
        float(listed[0]["probability"]) <= float(listed[-1]["probability"]) < float(listed[-1]["suggested_probability"])
    )
