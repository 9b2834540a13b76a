"""The report's tables again: what is printed, what was measured, and a dash where there is neither."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import of_the_report, set_knob
from wbc.config.resolve import resolve
from wbc.core.classes import CLASSES, TABLE_1
from wbc.core.errors import UserError
from wbc.core.io import write_csv, write_json, write_text
from wbc.features import feature_set
from wbc.report import cells, charts, labels, overlays, page, published
from wbc.report.calibrated import ERRORS
from wbc.report.differences import BELOW, BEST, compared
from wbc.report.external import COLUMNS as EXTERNAL
from wbc.report.results import HEADINGS, lines, markdown, read_public_scores, results
from wbc.report.study import Study
from wbc.report.tables import all_tables
from wbc.report.tables import markdown as tables_markdown
from wbc.report.titles import title, titles
from wbc.scoring.predictions import Predictions, write_predictions

SNE, LY, MO, BNE, PLY = map(CLASSES.index, ("SNE", "LY", "MO", "BNE", "PLY"))
ROWS = ("convnext_restarts", "mine")
OF_EACH = 5  # images of a class in the validation part and in the test part


def certain(*classes):
    return np.eye(len(CLASSES))[list(classes)] * 0.9 + 0.1 / 13


def part(name, right, tta=None):
    """Predictions of five images of each class, so many of them right: macro F1 and accuracy are a fifth of that.

    The others are taken for the class as far away as SNE is from BNE.
    """
    target, place = np.repeat(np.arange(13), OF_EACH), np.tile(np.arange(OF_EACH), 13)
    ids = np.array([f"{name}-{i}" for i in range(len(target))])
    plain, augmented = (certain(*np.where(place < n, target, (target - BNE) % 13)) for n in (right, tta or right))
    return Predictions(ids, target, plain, None if tta is None else augmented)


def write_study(repeat=0):
    """The runs of the row `convnext_restarts`, of `mine`, which stands on it, of its blend and of the classifiers."""
    for features, names in published.CLASSIFIERS.items():
        run = f"runs/{features}-{repeat}"
        for name in names:
            parts = {"validation": part("train", 2), "test": part("test", 2)}
            write_predictions(f"{run}/classical/{name}.npz", parts)
        folds = [(name, f1, 0.7) for name in names for f1 in (0.39, 0.41)]
        write_csv(f"{run}/classical/folds.csv", ["classifier", "f1", "accuracy"], folds)
    write_json(f"runs/v2-{repeat}/gridsearch.json", {"n_estimators": 300, "max_depth": 7, "val_f1": 0.45})
    write_predictions(f"runs/v2-{repeat}/gridsearch/predictions.npz", {"test": part("test", 1)})
    for row, best, epochs, validation, test in (
        ("convnext_restarts", 28, 48, part("train", 2, 3), part("test", 3, 4)),
        ("mine", 1, 1, part("train", 4, 4), part("test", 3, 3)),
    ):
        run = f"runs/{row}-{repeat}"
        write_predictions(f"{run}/predict/predictions.npz", {"validation": validation, "test": test})
        write_json(f"{run}/train.json", {"best_epoch": best})
        history = [(epoch, 0.1, 0.3, 1.0, 2.0) for epoch in range(1, epochs + 1)]
        write_csv(f"{run}/train/history.csv", ["epoch", "val/f1", "train/f1", "train/loss", "val/loss"], history)
    blend = {"validation": part("train", 3, 3), "test": part("test", 4, 4)}
    write_predictions(f"runs/mine-{repeat}/blend/predictions.npz", blend)


@pytest.fixture
def study(params, tmp_path, monkeypatch):
    """A study on the disk, of 200 training and 65 test images."""
    monkeypatch.chdir(tmp_path)
    for change in (
        "+ladder.mine={from: convnext_restarts, loss: {gamma: 3.0}}",
        f"rows=[{', '.join(ROWS)}]",
        "blend={rows: [mine], features: v2, classifier: logistic_regression}",
        "~features.v3",
        "robustness.rows=[]",
    ):
        set_knob(params, change)
    of_class = np.repeat(CLASSES, [60, 30, *[10] * 11])
    images = [(f"train-{i}", label, "train", "m" * (i < 7)) for i, label in enumerate(of_class)]
    images += [(f"test-{i}", CLASSES[target], "test", "") for i, target in enumerate(part("test", 0).target)]
    write_csv("data/ingest/study/manifest.csv", ["id", "label", "part", "mask", "group"], [(*i, "") for i in images])
    write_text("data/masks/study/scores.csv", "method,failed,cell_dice,cell_iou\nhsv,0.25,0.6,0.5\ndisc,0,,\n")
    write_study()
    return Study(**{key: value for key, value in resolve(params)["report"].items() if key != "compute"})


def given(study, **known):
    """The study with some of what it reads from the disk replaced."""
    changed = replace(study)
    vars(changed).update(known)
    return changed


NO_TABLES = pd.DataFrame(columns=list(ERRORS)), pd.DataFrame(columns=list(EXTERNAL))


def printed(study, differences=None, external=NO_TABLES[1]):
    found = all_tables(study, compared(study) if differences is None else differences, NO_TABLES[0], external)
    return {table.title.split(":")[0]: table for table in found}


def cells_of(table):
    return table.cells.to_numpy().tolist()


# --- results


def test_the_results_put_measured_beside_published(study):
    table = results(study, {"mine": 0.77}).set_index("row")
    classical = ["v1-classical", "v2-classical", "v2-gridsearch"]
    assert list(table.index) == [*classical, "convnext_restarts", "convnext_restarts-tta", "mine", "mine-blend"]
    restarts, tta = table.loc["convnext_restarts"], table.loc["convnext_restarts-tta"]
    assert (restarts["published_leaderboard"], restarts["val_f1"]) == (0.7327, pytest.approx(0.4))
    assert pd.isna(tta["val_f1"])
    assert tta["test_f1_tta"] == pytest.approx(0.8)
    assert (table.loc["v2-classical", "val_f1"], table.loc["v2-gridsearch", "test_f1"]) == pytest.approx((0.4, 0.2))
    assert (table.loc["mine", "public_score"], table.loc["mine-blend", "test_f1"]) == pytest.approx((0.77, 0.8))
    assert lines(table)[0][-1] is None
    assert table.loc["mine", "title"] == "convnext_restarts + γ = 3"
    assert pd.isna(table.loc["mine", "published_title"])


def test_the_results_as_markdown_have_dashes_intervals_and_no_empty_column(study):
    table = results(study)
    low, high = table.set_index("row").loc["mine", ["test_f1_low", "test_f1_high"]]
    text = markdown(table)
    assert HEADINGS["public_score"] not in text
    assert len({line.count("|") for line in text.splitlines()}) == 1
    (mine,) = (line for line in text.splitlines() if "`mine`" in line)
    shown = [cell.strip() for cell in mine.split("|")[1:-1]]
    assert shown[:5] == ["`mine`", "convnext_restarts + γ = 3", "0.800", "0.100", "0.800"]
    assert shown[5] == f"0.600 ({low:.3f}–{high:.3f})"
    assert shown[-3:] == ["–", "–", "–"]
    recorded = markdown(results(study, {"mine": 0.7739}))
    assert HEADINGS["public_score"] in recorded
    assert "0.774 |" in next(line for line in recorded.splitlines() if "`mine`" in line)
    (data,) = charts.progression(table).to_dict()["datasets"].values()
    bars = {(one["row"], one["on"]): (one["low"], one["high"]) for one in data if one["low"] is not None}
    assert bars["mine", charts.ON[1]] == pytest.approx((low, high))
    assert ("mine", charts.ON[0]) not in bars  # the validation part has none


def test_public_scores_are_read(tmp_path):
    for entries, expected in (("final,0.77\n", {"final": 0.77}), ("", {})):
        write_text(tmp_path / "scores.csv", f"row,score\n{entries}")
        assert read_public_scores(tmp_path / "scores.csv", ["final"]) == expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("finale,0.7", "row 1: 'finale' is no row"),
        ("final,0.7\nfinal,0.8", "row 2: 'final' is listed twice"),
        ("final,77.4", "row 1: score '77.4' should be a number from 0 to 1"),
        ("final,high", "row 1: score 'high' should be a number from 0 to 1"),
        ("final,nan", "row 1: score '' should be a number from 0 to 1"),
    ],
)
def test_a_public_score_that_cannot_be_is_named(tmp_path, entries, message):
    write_text(tmp_path / "scores.csv", f"row,score\n{entries}\n")
    with pytest.raises(UserError, match=message):
        read_public_scores(tmp_path / "scores.csv", ["final"])


# --- differences


def on_test_part(study, **predicted):
    """The study with these predictions of 40 test images of SNE, 40 of LY and 3 of PLY, so many tenths right."""
    target = np.repeat([SNE, LY, PLY], [40, 40, 3])
    found = {
        (name.replace("_on_", "-").removesuffix("_tta"), name.endswith("_tta")): np.where(
            np.arange(83) % 10 < tens, target, MO
        )
        for name, tens in predicted.items()
    }
    return given(study, test=study.test._replace(target=target, predicted=found), measured=study.measured)


def test_a_model_is_compared_with_what_it_stands_on_and_with_the_best(study):
    rows = {"v2_on_gridsearch": 5, "convnext_restarts": 7, "convnext_restarts_tta": 7, "mine": 9, "mine_tta": 9}
    of = on_test_part(study, **rows, v2_on_logistic_regression=6, mine_on_blend=8)
    found = compared(of)
    assert found[["row", "against", "why"]].drop_duplicates().to_numpy().tolist() == [
        ["v2-gridsearch", "mine", BEST],
        ["convnext_restarts", "mine", BEST],
        ["convnext_restarts-tta", "convnext_restarts", BELOW],
        ["mine", "convnext_restarts", BELOW],
        ["mine-blend", "mine", BELOW],
        ["mine-blend", "v2-logistic_regression", BELOW],
    ]
    assert found["score"].tolist() == ["f1", "f1_common"] * 6  # of PLY there are three
    without = found[found["score"] == "f1_common"].set_index("row")
    assert without["verdict"].tolist()[:4] == ["lower", "lower", "undecided", "higher"]
    assert (without.at["convnext_restarts-tta", "difference"], without.at["convnext_restarts-tta", "p"]) == (0, 1)
    tables = printed(of, found)
    shown = cells_of(tables["Differences"])
    assert ["mine", "higher", "convnext_restarts", BELOW, "without rare classes"] in [line[:5] for line in shown]
    assert [line[0] for line in cells_of(tables["Table 1"]) if "†" in line[-1]] == ["PLY (prolymphocyte)"]
    assert "Differences" not in printed(on_test_part(study))


# --- predictions of the test part


def predict(run, tta=True, **classes):
    """Predictions of the test part by id, with TTA of the class as far from the last one."""
    probabilities = np.eye(13)[list(classes.values())]
    augmented = probabilities[:, ::-1] if tta else None
    found = Predictions(np.array(list(classes)), np.full(len(classes), -1), probabilities, augmented)
    file = "predict" if tta else "gridsearch"
    write_predictions(f"runs/{run}/{file}/predictions.npz", {"test": found})


def of_test(study, labels, part="test", **settings):
    """What the study's networks and its grid search predict for images of these labels."""
    images = pd.DataFrame({"id": list(labels), "label": labels.values(), "part": part, "group": ""})
    images.loc[images["id"].isin(["a", "c"]), "group"] = settings.pop("group", "")
    networks = {"mine": "a network"}
    nothing = {"features": {}, "blend": {"rows": []}}
    return given(replace(study, networks=networks, **nothing, **settings), manifest=images).test


def test_the_predictions_of_all_models_are_of_the_same_images(study):
    predict("mine-0", b=1, d=0, c=0, a=0)  # another order than the manifest's
    predict("v2-0", tta=False, d=2, c=1, b=0, a=1)
    found = of_test(study, {"a": "SNE", "b": "LY", "c": "", "d": "MO"}, group="p")
    assert found.target.tolist() == [0, 1, 2]
    assert {name: of.tolist() for name, of in found.predicted.items()} == {
        ("v2-gridsearch", False): [[1, 0, 2]],
        ("mine", False): [[0, 1, 0]],
        ("mine", True): [[12, 11, 12]],
    }
    assert len(set(found.group)) == 3


def test_repeats_stay_apart_and_their_mean_is_a_model_more(study):
    for repeat, (a, b) in {0: (0, 0), 3: (0, 1), 4: (1, 1)}.items():
        predict(f"mine-{repeat}", a=a, b=b)
    found = of_test(study, {"a": "SNE", "b": "LY"}, repeats=[0, 3, 4]).predicted
    assert found["mine", False].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert found["mine-ensemble", False].tolist() == [[0, 1]]
    assert {name for name, _ in found} == {"mine", "mine-ensemble"}


def test_folds_that_share_out_all_images_are_pooled(study):
    """Two draws of two folds; the unlabelled image is predicted by all, and by no score."""
    for repeat, some in enumerate(({"a": 0, "c": 2}, {"b": 0}, {"b": 1}, {"c": 1, "a": 0})):
        predict(f"mine-{repeat}", **some, u=3)
    labels, part = {"a": "SNE", "b": "LY", "c": "MO", "u": ""}, ["train"] * 3 + ["test"]
    found = of_test(study, labels, part, repeats=range(4), outer=2)
    assert found.target.tolist() == [0, 1, 2]
    assert found.predicted["mine", False].tolist() == [[0, 0, 2], [0, 1, 1]]


# --- titles


def test_titles_say_what_ran_and_not_what_the_report_did(params):
    sample, report = (resolve(params | {"profile": name})["report"]["ladder"] for name in ("sample", "report"))
    lite, b3 = (title(ladder["efficientnet"]) for ladder in (sample, report))
    assert lite.startswith("tf_efficientnet_lite0, ImageNet weights, cross-entropy, no class weights")
    assert b3.startswith("efficientnet_b3.ra2_in1k, ImageNet weights, cross-entropy, log-dampened class weights")
    assert lite.endswith(" 8 epochs")
    assert title(sample["mixup"]) == "convnext_restarts + MixUp α = 0.4"
    assert "mixup + 2 frozen epochs" in title(sample["freeze"])
    assert title(sample["final"]) == "cutmix + γ = 1, weight decay 0.01"
    assert title(report["final"]) == "cutmix + γ = 1, 1/√n class weights, weight decay 0.01"


def test_a_setting_without_words_of_its_own_is_said_by_its_name():
    assert title({"from": "final", "augment": {"rotation": 90.0}, "seed": 7}) == "final + augment.rotation 90.0, seed 7"
    assert title({"from": "final", "loss": {"name": "poly"}}) == "final + loss.name poly"
    assert title({"from": "final"}) == "final + nothing"


def test_titles_of_the_other_models_name_what_was_chosen(study):
    known = given(study, folds={**study.folds, "v2-knn": {**study.folds["v2-knn"], "f1": 0.5}})
    found = titles(known)
    assert found["v2-classical"] == f"KNN, {len(feature_set('v2').NAMES)} features: best of 6 classifiers"
    assert found["v2-gridsearch"] == "SMOTE, gradient boosting: 300 rounds, depth 7 of the grid"
    assert found["mine-blend"] == "mean of mine's probabilities and those of Logistic regression on v2"


# --- the page


def test_the_head_names_row_part_and_images_and_the_reports_score_only_where_it_compares(study):
    def cards(study):
        return {card.heading: card[1:] for card in page.cards(study, results(study))}

    found = cards(study)
    assert found["Best network, validation part"] == ("0.800", "mine, without TTA, 65 images")
    assert found["The same network, test part"] == ("0.600", "without TTA, 65 images; 0.600 with TTA")
    assert {"Highest validation F1 without TTA", "The report's last row"}.isdisjoint(found)  # it is that network
    unlabelled = {key: pairs for key, pairs in study.confusions.items() if key != ("mine", "test")}
    assert "The same network, test part" not in cards(given(study, confusions=unlabelled))
    measured = {**study.measured, "v2-classical": {"val_f1": 0.95}}
    found = cards(given(replace(study, source="wbcbench"), measured=measured))
    assert found["Highest validation F1 without TTA"] == ("0.950", "v2-classical, mean of the folds")
    assert found["The report's last row"][0] == "0.774"


def test_a_difference_is_to_the_row_below_and_on_the_same_images(study):
    found = page.changes(results(study), study)
    assert found["mine"]["val_f1"] == pytest.approx(0.4)
    assert found["mine"]["test_f1"] == pytest.approx(0.0)
    assert [row for row, known in found.items() if known] == ["mine"]  # the others stand on nothing that was measured
    ladder = {**study.ladder, "mine": {"from": "convnext_restarts", "train": {"validation": 0.3}}}
    other = page.changes(results(study), replace(study, ladder=ladder))["mine"]
    assert {name for name in found["mine"] if name.startswith("test")} == set(other)


def test_rare_classes_are_seen_on_a_logarithmic_axis(study):
    spec = charts.class_shares(given(study, classes=study.classes.assign(train=[13015, *[11] * 11, 0]))).to_dict()
    (data,) = spec["datasets"].values()
    scale = spec["encoding"]["x"]["scale"]
    assert scale["type"] == "log"
    assert all(scale["domain"][0] < line["share"] <= scale["domain"][1] for line in data)
    assert [line["of"] for line in data if line["label"] == "PLY"] == ["report"]  # here there is none


def test_the_page_shows_some_points_of_each_class_and_ids_that_look_like_no_value(study):
    labels = np.repeat(CLASSES, [page.PER_CLASS + 5] * 13)
    ids = ["NA", "null", *map(str, range(len(labels) - 2))]
    for row in ROWS:
        rows = [(id, label, 0, 1) for id, label in zip(ids, labels, strict=True)][row == "mine" :]
        write_csv(f"runs/{row}-0/embed/points.csv", ["id", "label", "x", "y"], rows)
    tables, shown = page.points_shown(ROWS, 0)
    assert {"NA", "null"} < set(shown)
    assert set(tables["convnext_restarts"]["label"].value_counts()) == {page.PER_CLASS}
    assert len(tables["mine"]) == len(tables["convnext_restarts"]) - 1


HASH = """
import hashlib, sys
import altair as alt, pandas as pd
from wbc.report.charts import picture
chart = alt.Chart(pd.DataFrame({"x": [0, 1], "y": ["γ", "1/√n"]})).mark_point().encode(x="x", y="y")
print(hashlib.sha256(picture(chart)).hexdigest())
"""


def test_a_picture_is_the_same_on_a_machine_without_fonts():
    fonts, unshare = Path("/usr/share/fonts"), shutil.which("unshare")
    hide = [unshare, "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs none {fonts} && exec "$@"', "sh"]
    if not (unshare and fonts.is_dir()) or subprocess.run([*hide, "true"], capture_output=True).returncode:
        pytest.skip("the system's fonts cannot be hidden here: no unshare, or it is not allowed")
    draw = [sys.executable, "-c", HASH]
    with_fonts, without = (subprocess.run([*way, *draw], capture_output=True, text=True) for way in ([], hide))
    assert with_fonts.stdout == without.stdout, without.stderr
    assert len(without.stdout) == 65


def test_models_meet_on_the_cells_that_all_of_them_judge(study):
    def write(path, **parts):
        found = {
            name: Predictions(np.array(ids), np.array(target), certain(*classes), certain(*classes))
            for name, (ids, target, classes) in parts.items()
        }
        write_predictions(f"runs/{path}.npz", found)

    test = (["x", "y"], [3, -1], [3, 4])
    write("convnext_restarts-0/predict/predictions", validation=(["a", "b", "c"], [0, 1, 2], [0, 1, 1]), test=test)
    more = (["d", "c", "b", "a"], [5, 2, 1, 0], [5, 2, 2, 0])
    there = (["x", "z"], [3, 7], [4, 7])  # of z's class there are none at home
    write("mine-0/predict/predictions", validation=more, test=test, laboratory=there)
    write("mine-0/blend/predictions", validation=more, test=test)
    write("v2-0/gridsearch/predictions", test=(["x", "y"], [3, -1], [3, 3]))
    for features, names in published.CLASSIFIERS.items():
        for name in names:
            out_of_fold = (["a", "b", "c", "e"], [0, 1, 2, 3], [1, 1, 1, 1])
            write(f"{features}-0/classical/{name}", validation=out_of_fold, test=test)
    manifest = study.manifest[study.manifest["label"] != CLASSES[7]]
    write_csv("data/ingest/laboratory/manifest.csv", ["id", "label"], [("x", CLASSES[3]), ("z", CLASSES[7])])

    found = cells.parts(given(study, manifest=manifest))
    assert list(found) == ["validation", "test", "laboratory"]
    validation = found["validation"]
    assert (validation.ids.tolist(), validation.target.tolist()) == (["a", "b", "c"], [0, 1, 2])
    assert {name: each.tolist() for name, each in validation.predicted.items()} == {
        "v1-classical": [1, 1, 1],
        "v2-classical": [1, 1, 1],
        "convnext_restarts": [0, 1, 1],
        "mine": [0, 2, 2],
        "mine-blend": [0, 2, 2],
    }
    assert found["test"].predicted["v2-gridsearch"].tolist() == [3]  # of the other image nobody knows the class
    assert (found["laboratory"].ids.tolist(), list(found["laboratory"].predicted)) == (["x"], ["mine"])


def test_an_outline_follows_the_mask():
    mask = np.zeros((200, 100), np.uint8)
    mask[50:150, 20:80] = 1
    mask[80:120, 40:60] = 2
    assert cells.outline(mask) == "M20,25 20,74 79,74 79,25ZM40,40 40,60 59,60 59,40Z"
    assert cells.outline(np.zeros_like(mask)) == ""


# --- tables


def test_each_table_of_the_report_is_there_with_its_numbers_and_ours(study, params):
    found = printed(study, pd.DataFrame())
    first, rest = (f"Table {i}" for i in range(2, 5)), (f"Table {i}" for i in range(5, 9))
    assert list(found) == ["Table 1", "Masks", *first, "Classical models", *rest, "Single classes", "Other numbers"]
    tables = {name: cells_of(table) for name, table in found.items()}
    assert ["SNE (segmented neutrophil)", "13,015", "45.03", "60", "30.00", "5"] in tables["Table 1"]
    assert len(tables["Table 1"]) == len(TABLE_1)
    v1, v2 = (feature_set(name).TABLE for name in ("v1", "v2"))
    assert tables["Table 2"][-1] == ["Total", "9", str(len(v1)), "89", str(len(v2))]
    own = len(v2) - len(of_the_report("v2"))
    assert [[int(line[2]), int(line[4])] for line in tables["Table 2"][:-1]] == [
        [4, 20 + own],
        [3, 39],
        [2, 20],
        [0, 10],
    ]
    of_v1, of_v2 = (tables[f"Table {i}"][0] for i in (3, 4))
    assert of_v1[:3] == ["Random forest", "0.783", "0.700 ± 0.000"]
    assert of_v1[4:6] == ["0.326", "0.400 ± 0.014"]
    assert of_v2[:2] == ["Gradient boosting", "0.824"]
    assert of_v2[6].startswith("0.400 (0.")
    assert {here for _, _, here in tables["Table 5"]} == {"–"}  # there is no row `final` here
    table_5 = printed(replace(study, augment=params["augment"]), pd.DataFrame())["Table 5"]
    assert all(report == here for _, report, here in cells_of(table_5))  # params.yaml is the report's
    assert tables["Table 6"][2:] == [
        ["ConvNeXt-Tiny + FocalLoss + WarmRestarts", "convnext_restarts", "0.400", "0.600", "0.696", "0.733"],
        ["+ TTA (R = 8, T = 0.8)", "convnext_restarts", "0.600", "0.800", "0.698", "0.747"],
    ]
    assert tables["Table 7"][0] == ["Baseline (TTA)", "convnext_restarts", "0.400", "0.800", "0.696", "0.747"]
    assert tables["Table 8"][-1][1:] == ["–", "–", "–", "0.725", "0.774"]
    others = [line[1:] for line in tables["Other numbers"]]
    assert others[0] == ["200, 5", "300, 7"]
    assert others[1][1] == "–"
    assert others[2:] == [["28, 60", "28, 48"], ["+0.014", "+0.200"], ["19%", "60% of 5"]]
    assert "## Table 8: progression" in tables_markdown(found.values())


def test_masks_have_their_agreement(study):
    table = printed(study)["Masks"]
    assert cells_of(table) == [
        ["hsv", "0.600", "0.500", "–", "–", "25.0"],
        ["disc", "–", "–", "–", "–", "0.0"],
    ]
    assert "the 7 images" in table.note
    assert "all 265 masks" in table.note


def test_single_classes_have_their_recall(study):
    pairs = [("SNE", "SNE"), ("SNE", "BNE"), ("PLY", "LY")]
    known = {("convnext_restarts", "validation"): pd.DataFrame(pairs, columns=["actual", "predicted"])}
    table = printed(given(study, confusions=known), pd.DataFrame())["Single classes"]
    place = list(table.cells.columns).index("report: restarts, recall")
    of = {line[0]: tuple(line[place : place + 2]) for line in cells_of(table)}
    assert (of["SNE"], of["PLY"], of["VLY"]) == (("–", "0.50 (2)"), ("0.50", "0.00 (1)"), ("0.60", "–"))


def test_scores_elsewhere_stand_beside_those_at_home(study):
    here = {"images": 30, "classes": 2, "f1": 0.4, "f1_low": 0.35, "f1_high": 0.46, "home_f1": 0.7, "unusual": 0.915}
    external = pd.DataFrame([{"set": "elsewhere", "row": "mine", **here}], columns=list(EXTERNAL))
    table = printed(study, external=external)["Other laboratories"]
    line = table.cells.set_index("row").loc["mine"]
    assert (line["macro F1 at home"], line["here: macro F1"]) == ("0.700", "0.400 (0.350–0.460)")
    assert (line["here: accuracy"], line["here: unusual"], line["AUROC"]) == ("–", "92%", "–")
    assert "elsewhere: 30 images of 2 classes" in table.note


def test_corruptions_are_a_line_each_the_worst_first(study):
    scores = {"jpeg": [0.8, 0.7, 0.6, 0.5], "motion": [0.8, 0.4, 0.3, 0.2]}
    rows = [(name, s, f1) for name, found in scores.items() for s, f1 in zip((0, 1, 3, 5), found, strict=True)]
    write_csv("runs/mine-0/robustness/scores.csv", ["corruption", "severity", "f1"], rows)
    robust = replace(study, robust=["mine"])
    table = printed(robust)["Corruptions"]
    assert table.cells["corruption"].tolist() == ["none", "motion", "jpeg", "all"]
    assert table.cells["mean"].tolist() == ["0.800", "0.300", "0.600", "0.450"]
    assert table.cells.iloc[1, 2:].tolist() == ["0.400", "0.300", "0.200", "0.300"]
    (data,) = charts.robustness(robust).to_dict()["datasets"].values()
    assert len(data) == 8


# --- labels and overlays


def test_a_label_is_doubted_where_a_model_that_has_not_seen_it_says_another(tmp_path):
    found = certain(0, 1, 2, 2)
    found[0] = [0.4, 0.6, *[0.0] * 11]
    found[2] = [0.9, 0.0, 0.1, *[0.0] * 10]
    of = Predictions(np.array(list("abcd")), np.array([0, 1, 2, 2]), found)
    write_predictions(tmp_path / "lda.npz", {"validation": of})
    assert labels.suspects(tmp_path / "lda.npz").to_numpy().tolist() == [
        ["c", CLASSES[2], 0.1, CLASSES[0], 0.9, "lda"],
        ["a", CLASSES[0], 0.4, CLASSES[1], 0.6, "lda"],
    ]
    write_predictions(tmp_path / "test.npz", {"test": of})
    (tmp_path / "v3.csv").write_text("id\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "images.npy", found)
    for name in ("test.npz", "v3.csv", "empty.npz", "images.npy"):
        with pytest.raises(UserError, match=f"{name}: not a classifier's predictions"):
            labels.suspects(tmp_path / name)


def test_the_epochs_and_classes_of_all_models_are_one_table_each(study):
    found = overlays.epochs(study)
    assert found["row"].value_counts().to_dict() == {"convnext_restarts": 96, "mine": 2}
    assert found.to_numpy().tolist()[-2:] == [["mine", "validation", 1, 2.0, 0.1], ["mine", "training", 1, 1.0, 0.3]]
    found = overlays.classes(study)
    assert set(found["row"]) == {"v1-classical", "v2-classical", *ROWS}
    of_sne = found[(found["class"] == "SNE") & (found["row"] == "mine")]
    assert of_sne[["f1", "images"]].to_numpy().tolist() == [[0.8, 5]]
