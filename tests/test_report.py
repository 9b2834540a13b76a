"""The report's tables again: what is printed, what was measured, and a dash where there is neither."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import ROOT, of_the_report
from wbc.config import resolve
from wbc.core.classes import CLASSES, TABLE_1
from wbc.core.errors import UserError
from wbc.core.io import write_csv, write_npz, write_text
from wbc.features import feature_set
from wbc.report import cells, charts, labels, overlays, page, published
from wbc.report.calibrated import ERRORS
from wbc.report.differences import BELOW, BEST, compared
from wbc.report.external import COLUMNS as EXTERNAL
from wbc.report.mistakes import SHOWN
from wbc.report.results import HEADINGS, lines, markdown, read_public_scores, results
from wbc.report.study import Predictions, Study, predictions
from wbc.report.tables import all_tables
from wbc.report.tables import markdown as tables_markdown
from wbc.report.titles import title, titles
from wbc.synthetic import draw

SCORES = {"val_f1": 0.5, "val_f1_tta": 0.6, "test_f1": 0.65, "test_f1_tta": 0.7, "test_accuracy": 0.8}
SCORES |= {"test_f1_low": 0.6, "test_f1_high": 0.69, "test_f1_tta_low": 0.66, "test_f1_tta_high": 0.74}


@pytest.fixture
def study(params):
    """A study of one ConvNeXt row and one of somebody's own."""
    classical = {
        f"{features}-{name}": {"f1": 0.4, "f1_sd": 0.01, "accuracy": 0.7, "accuracy_sd": 0.02}
        for features, names in published.CLASSIFIERS.items()
        for name in names
    }
    pairs = [("SNE", "SNE"), ("SNE", "BNE"), ("BNE", "SNE"), ("BNE", "SNE"), ("PLY", "LY")]
    return Study(
        profile="sample",
        source="synthetic",
        repeats=[0],
        outer=0,
        models={"convnext_restarts": "a", "mine": "b"},
        ladder={
            "convnext_restarts": {"from": "base", **resolve(params)["convnext_restarts"]},
            "mine": {"from": "convnext_restarts", "loss": {"gamma": 3.0}},
        },
        augment=params["augment"],
        features={name: params["features"][name] for name in published.CLASSIFIERS},
        blend={"rows": ["mine"], "features": "v2", "classifier": "knn"},
        images={"train": 200, "test": 65},
        classes=pd.DataFrame({"label": CLASSES, "train": [60, 30, *[10] * 11], "test": [5] * 13}),
        masks={"hsv": {"failed": 0.25, "cell_dice": 0.6, "cell_iou": 0.5}, "disc": {"failed": 0.0}},
        true_masks=7,
        classical=classical,
        grid={"n_estimators": 300, "max_depth": 7, "val_f1": 0.45},
        measured={"convnext_restarts": SCORES, "mine": {"val_f1": 0.9}, "gridsearch": {"val_f1": 0.45}},
        trained={"convnext_restarts": {"best_epoch": 28}, "mine": {"best_epoch": 1}},
        histories={"convnext_restarts": pd.DataFrame({"epoch": range(1, 49)}), "mine": pd.DataFrame({"epoch": [1]})},
        confusions={
            name: pd.DataFrame(pairs[:n], columns=["actual", "predicted"])
            for name, n in (("convnext_restarts", 5), ("convnext_restarts-test", 4), ("mine", 3), ("mine-test", 0))
        },
        test=Predictions(np.empty(0, int), None, {}),
        robust=[],
        external=["elsewhere"],
        robustness=pd.DataFrame(columns=["row", "corruption", "severity", "f1"]),
    )


def printed(study, differences):
    here = {"images": 30, "classes": 2, "f1": 0.4, "f1_low": 0.35, "f1_high": 0.46, "home_f1": 0.7, "unusual": 0.915}
    external = pd.DataFrame([{"set": "elsewhere", "row": "mine", **here}], columns=list(EXTERNAL))
    return all_tables(study, differences, pd.DataFrame(columns=list(ERRORS)), external)


def test_the_results_put_measured_beside_published(study):
    table = results(study, {"mine": 0.77}).set_index("row")
    assert list(table.index) == [*published.ROWS, "mine"]
    restarts, tta = table.loc["convnext_restarts"], table.loc["convnext_restarts_tta"]
    assert (restarts["published_leaderboard"], restarts["val_f1"]) == (0.7327, 0.5)
    assert pd.isna(tta["val_f1"])
    assert tta["test_f1_tta"] == 0.7
    assert table.loc["mine", "public_score"] == 0.77
    assert lines(table)[0][-1] is None
    assert table.loc["mine", "title"] == "convnext_restarts + γ = 3"
    assert pd.isna(table.loc["mine", "published_title"])


def test_the_results_as_markdown_have_dashes_and_no_empty_column(study):
    text = markdown(results(study))
    assert "public score" not in text
    assert len({line.count("|") for line in text.splitlines()}) == 1
    cells = [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]
    assert cells == ["`mine`", "convnext_restarts + γ = 3", "0.900", *"––––", "–", "–", "–"]
    recorded = markdown(results(study, {"mine": 0.7739}))
    assert HEADINGS["public_score"] in recorded
    assert "0.774 |" in next(line for line in recorded.splitlines() if "`mine`" in line)


def test_a_score_of_the_test_part_stands_with_its_interval(study):
    line = next(line for line in markdown(results(study)).splitlines() if "`convnext_restarts`" in line)
    assert "| 0.650 (0.600–0.690) |" in line
    assert "| 0.700 (0.660–0.740) |" in line
    tta = next(line for line in markdown(results(study)).splitlines() if "`convnext_restarts_tta`" in line)
    assert "| 0.700 (0.660–0.740) |" in tta
    spec = charts.progression(results(study)).to_dict()
    (data,) = spec["datasets"].values()
    bars = {(one["row"], one["f1"]): (one["low"], one["high"]) for one in data if one["low"] is not None}
    assert bars[("convnext_restarts", 0.65)] == (0.6, 0.69)
    assert ("convnext_restarts", 0.5) not in bars  # the validation part has none


def scored(study, **predicted):
    """The study with these predictions of 40 test images of SNE, 40 of LY and 3 of PLY."""
    target = np.repeat([CLASSES.index(label) for label in ("SNE", "LY", "PLY")], [40, 40, 3])
    rows = {row: np.where(np.arange(83) % 10 < tens, target, 2) for row, tens in predicted.items()}
    return replace(study, test=Predictions(target, None, rows))


def test_a_row_is_compared_with_the_row_that_it_stands_on_and_with_the_best(study):
    rows = {"gridsearch": 5, "convnext_restarts": 7, "convnext_restarts_tta": 7, "mine": 9, "mine_tta": 9}
    found = compared(scored(study, **rows))
    assert found[["row", "against", "why"]].drop_duplicates().to_numpy().tolist() == [
        ["gridsearch", "mine", BEST],
        ["convnext_restarts", "mine", BEST],
        ["convnext_restarts_tta", "convnext_restarts", BELOW],
        ["mine", "convnext_restarts", BELOW],
    ]
    assert found["score"].tolist() == ["f1", "f1_common"] * 4  # of PLY there are three
    without = found[found["score"] == "f1_common"].set_index("row")
    assert without["verdict"].tolist() == ["lower", "lower", "undecided", "higher"]
    assert (without.at["convnext_restarts_tta", "difference"], without.at["convnext_restarts_tta", "p"]) == (0, 1)
    tables = {table.title.split(":")[0]: table for table in printed(scored(study, **rows), found)}
    assert tables["Differences"].cells.iloc[-1].tolist()[:5] == [
        "mine",
        "higher",
        "convnext_restarts",
        BELOW,
        "without rare classes",
    ]
    marked = [line[0] for line in tables["Table 1"].cells.to_numpy().tolist() if "†" in line[-1]]
    assert marked == ["PLY (prolymphocyte)"]
    assert "Differences" not in {table.title.split(":")[0] for table in printed(study, compared(study))}


def test_a_blend_is_compared_with_both_that_it_is_made_of(study):
    blended = replace(study, measured={**study.measured, "mine_blend": {"val_f1": 0.8}})
    found = compared(scored(blended, **{"convnext_restarts": 7, "mine": 8, "v2-knn": 6, "mine_blend": 9}))
    of_it = found[(found["row"] == "mine_blend") & (found["score"] == "f1_common")]
    assert of_it[["against", "why"]].to_numpy().tolist() == [["mine", BELOW], ["v2-knn", BELOW]]
    assert titles(blended)["mine_blend"] == "mean of mine's probabilities and those of KNN on v2"


def test_the_predictions_of_all_rows_are_of_the_same_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = {"a": "SNE", "b": "LY", "c": "", "d": "MO"}
    manifest = pd.DataFrame({"id": [*labels, "t"], "label": [*labels.values(), "LY"], "part": ["test"] * 4 + ["train"]})
    manifest["group"] = ["p", "", "p", "", ""]
    predict("mine-0", b=1, d=0, c=0, a=0)  # another order than the manifest's
    predict("gridsearch-0", tta=False, d=2, c=1, b=0, a=1)
    chances = [("knn_test", np.eye(13)[[1, 0, 2, 2]]), ("lda_test", np.eye(13)[[5, 5, 5, 5]])]
    tested = [("test_ids", np.array(["d", "c", "b", "a"])), ("test_targets", np.array([2, -1, 1, 0]))]
    write_npz("data/predictions/v2-0.npz", [*tested, *chances])
    found = predictions(["v2-knn", "gridsearch", "mine"], [0], 0, manifest)
    assert found.target.tolist() == [0, 1, 2]
    assert {row: of.tolist() for row, of in found.predicted.items()} == {
        "v2-knn": [[2, 2, 1]],
        "gridsearch": [[1, 0, 2]],
        "mine": [[0, 1, 0]],
        "mine_tta": [[12, 11, 12]],
    }
    assert len(set(found.group)) == 3


def test_repeats_stay_apart_and_their_mean_is_a_row_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = pd.DataFrame({"id": ["a", "b"], "label": ["SNE", "LY"], "part": "test", "group": ""})
    predict("mine-0", a=0, b=0)
    predict("mine-3", a=0, b=1)
    predict("mine-4", a=1, b=1)
    found = predictions(["mine"], [0, 3, 4], 0, manifest).predicted
    assert found["mine"].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert found["mine_ensemble"].tolist() == [[0, 1]]
    assert found.keys() == {"mine", "mine_tta", "mine_ensemble", "mine_ensemble_tta"}


def test_folds_that_share_out_all_images_are_pooled(tmp_path, monkeypatch):
    """Two draws of two folds; the unlabelled image is predicted by all, and by no score."""
    monkeypatch.chdir(tmp_path)
    manifest = pd.DataFrame(
        {"id": ["a", "b", "c", "u"], "label": ["SNE", "LY", "MO", ""], "part": ["train"] * 3 + ["test"]}
    )
    manifest["group"] = ""
    for repeat, tested in enumerate(({"a": 0, "c": 2}, {"b": 0}, {"b": 1}, {"c": 1, "a": 0})):
        predict(f"mine-{repeat}", **tested, u=3)
    found = predictions(["mine"], range(4), 2, manifest)
    assert found.target.tolist() == [0, 1, 2]
    assert found.predicted["mine"].tolist() == [[0, 0, 2], [0, 1, 1]]


def predict(name, tta=True, **classes):
    """Predictions of a test part, by id, and with TTA of the class as far from the last one."""
    probabilities = np.eye(13)[list(classes.values())]
    arrays = {"ids": np.array(list(classes)), "targets": np.full(len(classes), -1), "probabilities": probabilities}
    arrays |= {"probabilities_tta": probabilities[:, ::-1]} if tta else {}
    write_npz(f"data/predictions/{name}.npz", [(f"test_{key}", array) for key, array in arrays.items()])


def test_titles_say_what_ran_and_not_what_the_report_did(params):
    sample, report = (resolve(params | {"profile": name})["report"]["ladder"] for name in ("sample", "report"))
    lite, b3 = (title(ladder["efficientnet"]) for ladder in (sample, report))
    assert lite.startswith("tf_efficientnet_lite0, ImageNet weights, cross-entropy, no class weights")
    assert b3.startswith("efficientnet_b3.ra2_in1k, ImageNet weights, cross-entropy, log-dampened class weights")
    assert lite.endswith(" 8 epochs")
    assert title(sample["convnext_cosine"]).startswith(
        "test_convnext3, weights learned from drawn cells without labels, focal loss, γ = 2, no class weights"
    )
    assert title(sample["mixup"]) == "convnext_restarts + MixUp α = 0.4"
    assert "mixup + 2 frozen epochs" in title(sample["freeze"])
    assert "mixup + 5 frozen epochs" in title(report["freeze"])
    assert title(sample["final"]) == "cutmix + γ = 1, weight decay 0.01"
    assert title(report["final"]) == "cutmix + γ = 1, 1/√n class weights, weight decay 0.01"


def test_the_readmes_table_says_what_runs(params):
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2].partition("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` +\| (.+?) +\|", table, re.M))
    ladder = resolve(params)["report"]["ladder"]
    assert {row: shown.get(row) for row in ladder} == {row: title(changed) for row, changed in ladder.items()}
    assert set(shown) == {*published.ROWS, "classical_v3", "best", "best_blend"}


def test_a_setting_without_words_of_its_own_is_said_by_its_name():
    assert title({"from": "final", "augment": {"rotation": 90.0}, "seed": 7}) == "final + augment.rotation 90.0, seed 7"
    assert title({"from": "final", "loss": {"name": "poly"}}) == "final + loss.name poly"
    assert title({"from": "final"}) == "final + nothing"


def test_titles_of_the_classical_rows_name_what_was_chosen(study):
    classical = {**study.classical, "v2-knn": {**study.classical["v2-knn"], "f1": 0.5}}
    found = titles(replace(study, classical=classical))
    assert found["classical_v2"] == f"KNN, {len(feature_set('v2').NAMES)} features: best of 6 classifiers"
    assert found["gridsearch"] == "SMOTE, gradient boosting: 300 rounds, depth 7 of the grid"


def test_the_head_names_row_part_and_images_and_the_reports_score_only_where_it_compares(study):
    cards = {card.heading: card[1:] for card in page.cards(study, results(study))}
    assert cards["Best network, validation part"] == ("0.900", "mine, without TTA, 3 images")
    assert {"Highest validation F1 without TTA", "The report's last row"}.isdisjoint(cards)  # it is that network
    assert "The same network, test part" not in cards  # which has no labelled images there
    measured = {**study.measured, "classical_v2": {"val_f1": 0.95}, "mine": {"val_f1": 0.2}}
    study = replace(study, measured=measured, source="wbcbench")
    cards = {card.heading: card[1:] for card in page.cards(study, results(study))}
    assert cards["Highest validation F1 without TTA"] == ("0.950", "classical_v2, mean of the folds")
    assert cards["Best network, validation part"] == ("0.500", "convnext_restarts, without TTA, 5 images")
    assert cards["The same network, test part"] == ("0.650", "without TTA, 4 images; 0.700 with TTA")
    assert cards["The report's last row"][0] == "0.774"


def test_a_difference_is_to_the_row_below_and_on_the_same_images(study):
    found = page.changes(results(study), study)
    assert found["mine"] == {"val_f1": pytest.approx(0.4)}  # 0.9 on 0.5, and nothing on the test part
    assert [row for row, known in found.items() if known] == ["mine"]  # the others stand on nothing that was measured
    ladder = {**study.ladder, "mine": {"from": "convnext_restarts", "train": {"validation": 0.3}}}
    assert page.changes(results(study), replace(study, ladder=ladder))["mine"] == {}


def test_rare_classes_are_seen_on_a_logarithmic_axis(study):
    classes = study.classes.assign(train=[13015, *[11] * 11, 0])
    spec = charts.class_shares(replace(study, classes=classes)).to_dict()
    (data,) = spec["datasets"].values()
    scale = spec["encoding"]["x"]["scale"]
    assert scale["type"] == "log"
    assert all(scale["domain"][0] < line["share"] <= scale["domain"][1] for line in data)
    assert [line["of"] for line in data if line["label"] == "PLY"] == ["report"]  # here there is none


def test_masks_have_their_agreement(study):
    (table,) = (table for table in printed(study, compared(study)) if table.title.startswith("Masks"))
    assert table.cells.to_numpy().tolist() == [
        ["hsv", "0.600", "0.500", "–", "–", "25.0"],
        ["disc", "–", "–", "–", "–", "0.0"],
    ]
    assert "the 7 images" in table.note
    assert "all 265 masks" in table.note


def test_what_the_report_prints_twice_agrees():
    for features, scores in published.CLASSIFIERS.items():
        assert published.ROWS[f"classical_{features}"].val_f1 == max(f1 for _, f1 in scores.values())
    for table in (published.TABLE_6, published.TABLE_7, published.TABLE_8):
        for _, val, leaderboard, row, val_here, test_here in table:
            name = f"{row}_tta" if test_here.endswith("tta") and row == "convnext_restarts" else row
            assert leaderboard == pytest.approx(published.ROWS[name].leaderboard, abs=5e-4)
            name = f"{row}_tta" if val_here.endswith("tta") else row
            assert val == pytest.approx(published.ROWS[name].val_f1, abs=5e-4)


def test_each_table_of_the_report_is_there_with_its_numbers_and_ours(study):
    tables = {table.title.split(":")[0]: table.cells.to_numpy().tolist() for table in printed(study, compared(study))}
    first, rest = (f"Table {i}" for i in range(2, 5)), (f"Table {i}" for i in range(5, 9))
    extra = ["Single classes", "Other numbers", "Other laboratories"]
    assert list(tables) == ["Table 1", "Masks", *first, "Classical models", *rest, *extra]
    assert ["SNE (segmented neutrophil)", "13,015", "45.03", "60", "30.00", "5"] in tables["Table 1"]
    assert len(tables["Table 1"]) == len(TABLE_1)
    v1, v2 = (feature_set(name).TABLE for name in ("v1", "v2"))
    assert tables["Table 2"][-1] == ["Total", "9", str(len(v1)), "89", str(len(v2))]
    assert [int(here) for _, _, here, _, _ in tables["Table 2"][:-1]] == [4, 3, 2, 0]
    own = len(v2) - len(of_the_report("v2"))
    assert [int(line[4]) for line in tables["Table 2"][:-1]] == [20 + own, 39, 20, 10]
    assert tables["Table 3"][0] == ["Random forest", "0.783", "0.700 ± 0.020", "–", "0.326", "0.400 ± 0.010", "–"]
    assert tables["Table 4"][0] == ["Gradient boosting", "0.824", "0.700 ± 0.020", "–", "0.400", "0.400 ± 0.010", "–"]
    assert all(printed == here for _, printed, here in tables["Table 5"])  # params.yaml is the report's
    assert tables["Table 6"][2:] == [
        ["ConvNeXt-Tiny + FocalLoss + WarmRestarts", "convnext_restarts", "0.500", "0.650", "0.696", "0.733"],
        ["+ TTA (R = 8, T = 0.8)", "convnext_restarts", "0.600", "0.700", "0.698", "0.747"],
    ]
    assert tables["Table 7"][0] == ["Baseline (TTA)", "convnext_restarts", "0.500", "0.700", "0.696", "0.747"]
    assert tables["Table 8"][-1][1:] == ["final", "–", "–", "0.725", "0.774"]  # there is no row `final` here
    assert ["28, 60", "28, 48"] in [line[1:] for line in tables["Other numbers"]]
    assert tables["Other numbers"][0][1:] == ["200, 5", "300, 7"]
    assert ["+0.014", "+0.050"] in [line[1:] for line in tables["Other numbers"]]
    assert tables["Other numbers"][-1][1:] == ["19%", "100% of 2"]


def test_without_the_studys_last_row_table_5_has_no_number_here(study):
    (table,) = (
        table for table in printed(replace(study, augment=None), compared(study)) if table.title.startswith("Table 5")
    )
    assert set(table.cells["here"]) == {"–"}


def test_single_classes_have_their_recall(study):
    (table,) = (table for table in printed(study, compared(study)) if table.title.startswith("Single classes"))
    place = list(table.cells.columns).index("report: restarts, recall")
    of = {line[0]: tuple(line[place : place + 2]) for line in table.cells.to_numpy().tolist()}
    assert of["SNE"] == ("–", "0.50 (2)")
    assert of["PLY"] == ("0.50", "0.00 (1)")
    assert of["VLY"] == ("0.60", "–")  # of which there is no image
    assert "## Table 8: progression" in tables_markdown(printed(study, compared(study)))


def test_public_scores_are_read(tmp_path):
    write_text(tmp_path / "scores.csv", "row,score\nfinal,0.77\n")
    assert read_public_scores(tmp_path / "scores.csv", ["final"]) == {"final": 0.77}
    write_text(tmp_path / "scores.csv", "row,score\n")
    assert read_public_scores(tmp_path / "scores.csv", ["final"]) == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("finale,0.7", "row 1: 'finale' is no row"),
        ("final,0.7\nfinal,0.8", "row 2: 'final' is listed twice"),
        ("final,77.4", "row 1: score '77.4' should be a number from 0 to 1"),
        ("final,high", "row 1: score 'high' should be a number from 0 to 1"),
        ("final,nan", "row 1: score 'nan' should be a number from 0 to 1"),
    ],
)
def test_a_public_score_that_cannot_be_is_named(tmp_path, entries, message):
    write_text(tmp_path / "scores.csv", f"row,score\n{entries}\n")
    with pytest.raises(UserError, match=message):
        read_public_scores(tmp_path / "scores.csv", ["final"])


def test_the_challenges_validation_part_fits_the_page(tmp_path, monkeypatch):
    """The study's seven rows and three of one's own, with cells of 224 px: more points than Altair takes by itself."""
    monkeypatch.chdir(tmp_path)
    labels = [label for label, count in TABLE_1.items() for _ in range(round(0.2 * count))]
    rng = np.random.default_rng(0)
    points = np.column_stack([np.arange(len(labels)), labels, *rng.normal(0, 30, (2, len(labels))).round(6)])
    for row in range(10):
        write_csv(f"plots/embed/{row}-0.csv", ["id", "label", "x", "y"], points[: -1 if row else None].tolist())
    tables, ids = page.points_shown(map(str, range(10)), 0)
    assert all(table["label"].value_counts().max() == page.PER_CLASS for table in tables.values())
    assert set(tables["0"]["label"]) == set(CLASSES)

    drawn = [draw(label, 224, rng)[0] for label in CLASSES]
    pictures = [cells.picture(image) for image in drawn]
    # and of each other part, of which there are two
    most = (len(ids) + 2 * SHOWN * len(CLASSES)) * max(map(len, pictures))
    # beside them come Vega with 0.9 MB, the masks and the contact sheet with 1 MB, tables and predictions with 0.5 MB
    assert len(json.dumps(charts.projection(tables, "0").to_dict())) + most < 2.6e6


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


def test_ids_that_look_like_no_value_are_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv("plots/embed/a-0.csv", ["id", "label", "x", "y"], [("NA", "SNE", 0, 1), ("null", "LY", 1, 2)])
    assert page.points_shown(["a"], 0)[1] == ["NA", "null"]


def test_scores_elsewhere_stand_beside_those_at_home(study):
    (table,) = (each for each in printed(study, compared(study)) if each.title.startswith("Other laboratories"))
    line = table.cells.set_index("row").loc["mine"]
    assert (line["macro F1 at home"], line["here: macro F1"]) == ("0.700", "0.400 (0.350–0.460)")
    assert (line["here: accuracy"], line["here: unusual"], line["AUROC"]) == ("–", "92%", "–")
    assert "elsewhere: 30 images of 2 classes" in table.note


def test_corruptions_are_a_line_each_the_worst_first(study):
    scores = {"jpeg": [0.8, 0.7, 0.6, 0.5], "motion": [0.8, 0.4, 0.3, 0.2]}
    lines = [("mine", name, s, f1) for name, found in scores.items() for s, f1 in zip((0, 1, 3, 5), found, strict=True)]
    robust = pd.DataFrame(lines, columns=["row", "corruption", "severity", "f1"])
    table = printed(replace(study, robust=["mine"], robustness=robust), pd.DataFrame())[-2]
    assert table.cells["corruption"].tolist() == ["none", "motion", "jpeg", "all"]
    assert table.cells["mean"].tolist() == ["0.800", "0.300", "0.600", "0.450"]
    assert table.cells.iloc[1, 2:].tolist() == ["0.400", "0.300", "0.200", "0.300"]
    (data,) = charts.robustness(replace(study, robust=["mine"], robustness=robust)).to_dict()["datasets"].values()
    assert len(data) == 8


def write_predictions(path, ids, targets, **chances):
    write_npz(path, [(key, np.array(value)) for key, value in {**ids, **targets, **chances}.items()])


def certain(*classes):
    return np.eye(len(CLASSES))[list(classes)] * 0.9 + 0.1 / 13


def test_rows_meet_on_the_cells_that_all_of_them_judge(tmp_path, monkeypatch, study):
    monkeypatch.chdir(tmp_path)
    ids = {"val_ids": ["a", "b", "c"], "test_ids": ["x", "y"]}
    network = {"val_targets": [0, 1, 2], "test_targets": [3, -1], "test_probabilities": certain(3, 4)}
    write_predictions("data/predictions/convnext_restarts-0.npz", ids, network, val_probabilities=certain(0, 1, 1))
    more = {**ids, "val_ids": ["d", "c", "b", "a"]}
    network |= {"val_targets": [5, 2, 1, 0]}
    for name in ("mine", "mine_blend"):
        write_predictions(f"data/predictions/{name}-0.npz", more, network, val_probabilities=certain(5, 2, 2, 0))
    folds = {"out_of_fold_ids": ["a", "b", "c", "e"], "test_ids": ["x", "y"]}
    targets = {"out_of_fold_targets": [0, 1, 2, 3], "test_targets": [3, -1]}
    for features, names in published.CLASSIFIERS.items():
        chances = {f"{name}_out_of_fold": certain(1, 1, 1, 1) for name in names}
        chances |= {f"{name}_test": certain(2, 2) for name in names}
        write_predictions(f"data/predictions/{features}-0.npz", folds, targets, **chances)
    only = {"test_ids": ["x", "y"]}
    grid = {"test_targets": [3, -1], "test_probabilities": certain(3, 3)}
    write_predictions("data/predictions/gridsearch-0.npz", only, grid)
    there = {"ids": ["x", "z"], "targets": [3, 7], "common": [3], "mine": certain(4, 7)}
    write_predictions("data/predictions/external/elsewhere-0.npz", there, {})

    found = cells.parts(study)
    assert list(found) == ["validation", "test", "elsewhere"]
    part = found["validation"]
    assert part.ids.tolist() == ["a", "b", "c"]
    assert part.target.tolist() == [0, 1, 2]
    said = {row: each.tolist() for row, each in part.predicted.items()}
    both = {f"classical_{features}": [1, 1, 1] for features in published.CLASSIFIERS}
    assert said == {**both, "convnext_restarts": [0, 1, 1], "mine": [0, 2, 2], "mine_blend": [0, 2, 2]}
    assert found["test"].predicted["gridsearch"].tolist() == [3]  # of the other image nobody knows the class
    assert (found["elsewhere"].ids.tolist(), list(found["elsewhere"].predicted)) == (["x"], ["mine"])


def test_an_outline_follows_the_mask():
    mask = np.zeros((200, 100), np.uint8)
    mask[50:150, 20:80] = 1
    mask[80:120, 40:60] = 2
    assert cells.outline(mask) == "M20,25 20,74 79,74 79,25ZM40,40 40,60 59,60 59,40Z"
    assert cells.outline(np.zeros_like(mask)) == ""


def test_a_label_is_doubted_where_a_model_that_has_not_seen_it_says_another(tmp_path):
    good, bad = certain(0, 1, 2, 2), certain(1, 1, 1, 1)
    good[0] = [0.4, 0.6, *[0.0] * 11]
    good[2] = [0.9, 0.0, 0.1, *[0.0] * 10]
    ids, targets = {"out_of_fold_ids": ["a", "b", "c", "d"]}, {"out_of_fold_targets": [0, 1, 2, 2]}
    write_predictions(tmp_path / "v3-0.npz", ids, targets, knn_out_of_fold=bad, lda_out_of_fold=good)
    found = labels.suspects(tmp_path / "v3-0.npz")
    assert found.to_numpy().tolist() == [
        ["c", CLASSES[2], 0.1, CLASSES[0], 0.9, "lda"],
        ["a", CLASSES[0], 0.4, CLASSES[1], 0.6, "lda"],
    ]
    assert labels.suspects(tmp_path / "v3-0.npz", "knn")["by"].tolist() == ["knn"] * 3
    write_predictions(tmp_path / "final-0.npz", {"val_ids": ["a"]}, {})
    (tmp_path / "v3.csv").write_text("id\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "images.npy", bad)
    for name in ("final-0.npz", "v3.csv", "empty.npz", "images.npy"):
        with pytest.raises(UserError, match=f"{name}: not the predictions of a feature set"):
            labels.suspects(tmp_path / name)


def test_all_rows_lie_over_one_another(study):
    history = pd.DataFrame({"epoch": [1, 2], "val/f1": [0.1, 0.2], "val/loss": [3.0, 2.0], "train/f1": [0.3, 0.4]})
    history["train/loss"] = [1.0, 0.5]
    found = overlays.epochs(replace(study, histories={"mine": history}))
    assert found.to_numpy().tolist()[1:3] == [["mine", "validation", 2, 2.0, 0.2], ["mine", "training", 1, 1.0, 0.3]]
    knn = study.confusions["convnext_restarts"]
    known = {**study.confusions, **dict.fromkeys(study.classical, knn)}
    found = overlays.classes(replace(study, confusions=known))
    assert set(found["row"]) == {"classical_v1", "classical_v2", *study.models}
    of_sne = found[(found["class"] == "SNE") & (found["row"] == "mine")]
    assert of_sne[["f1", "images"]].to_numpy().tolist() == [[0.5, 2]]
