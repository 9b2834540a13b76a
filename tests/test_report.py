"""The results table, the report's tables, the differences and the data of the page."""

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
from wbc.report import cells, charts, labels, page, plots, published
from wbc.report.calibration import ERRORS
from wbc.report.differences import compare_models
from wbc.report.external import COLUMNS as EXTERNAL
from wbc.report.results import HEADINGS, markdown, read_public_scores, results, title, titles
from wbc.report.study import Study
from wbc.report.tables import all_tables
from wbc.report.tables import markdown as tables_markdown
from wbc.scoring.predictions import Predictions, write_predictions

SNE, LY, MO, BNE, PLY = map(CLASSES.index, ("SNE", "LY", "MO", "BNE", "PLY"))
ROWS = ("convnext_restarts", "mine")
NO_ERRORS, NO_EXTERNAL = pd.DataFrame(columns=list(ERRORS)), pd.DataFrame(columns=list(EXTERNAL))


def certain(*classes):
    return np.eye(len(CLASSES))[list(classes)] * 0.9 + 0.1 / 13


def part(name, right, tta=None):
    """Predictions of five images of each class, so many of them right: macro F1 and accuracy are a fifth of that.

    The others are predicted as the class as far away as SNE is from BNE.
    """
    target, place = np.repeat(np.arange(13), 5), np.tile(np.arange(5), 13)
    ids = np.array([f"{name}-{i}" for i in range(len(target))])
    plain, augmented = (certain(*np.where(place < n, target, (target - BNE) % 13)) for n in (right, tta or right))
    return Predictions(ids, target, plain, None if tta is None else augmented)


def write_run(path, validation, test):
    """Predictions of which so many of five are right, or (plain, with TTA)."""
    parts = {"validation": part("train", *validation), "test": part("test", *test)}
    write_predictions(f"runs/{path}.npz", parts)


@pytest.fixture
def study(params, tmp_path, monkeypatch):
    """Runs of classifiers, of `convnext_restarts`, of `mine`, which builds on it, and of the blend of `mine`."""
    monkeypatch.chdir(tmp_path)
    for change in (
        "+ladder.mine={from: convnext_restarts, loss: {gamma: 3.0}}",
        f"rows=[{', '.join(ROWS)}]",
        "blend={row: mine, features: v2}",
        "~features.v3",
        "robustness.rows=[]",
    ):
        set_knob(params, change)
    of_class = np.repeat(CLASSES, [60, 30, *[10] * 11])
    images = [(f"train-{i}", label, "train", "m" * (i < 7), "") for i, label in enumerate(of_class)]
    images += [(f"test-{i}", CLASSES[target], "test", "", "") for i, target in enumerate(part("test", 0).target)]
    write_csv("data/ingest/study/manifest.csv", ["id", "label", "part", "mask", "group"], images)
    write_csv(
        "data/split/0/folds.csv", ["id", "fold"], [(id, 0 if part == "train" else -1) for id, _, part, *_ in images]
    )
    write_text("data/masks/study/scores.csv", "method,failed,cell_dice,cell_iou\nhsv,0.25,0.6,0.5\ndisc,0,,\n")
    for features, names in published.CLASSIFIERS.items():
        for name in names:
            write_run(f"{features}-0/classical/{name}", [2], [2])
        folds = [(name, f1, 0.7) for name in names for f1 in (0.39, 0.41)]
        write_csv(f"runs/{features}-0/classical/folds.csv", ["classifier", "f1", "accuracy"], folds)
    write_json("runs/v2-0/gridsearch.json", {"n_estimators": 300, "max_depth": 7, "val_f1": 0.45})
    write_run("v2-0/gridsearch/predictions", [1], [1])
    write_run("convnext_restarts-0/predict/predictions", [2, 3], [3, 4])
    write_run("mine-0/predict/predictions", [4, 4], [3, 3])
    write_run("best-0/predictions", [3, 3], [4, 4])
    for row, best, epochs in (("convnext_restarts", 28, 48), ("mine", 1, 1)):
        write_json(f"runs/{row}-0/train.json", {"best_epoch": best})
        history = [(epoch, 0.1, 0.3, 1.0, 2.0) for epoch in range(1, epochs + 1)]
        columns = ["epoch", "val/f1", "train/f1", "train/loss", "val/loss"]
        write_csv(f"runs/{row}-0/train/history.csv", columns, history)
    return Study(**{key: value for key, value in resolve(params)["report"].items() if key != "compute"})


def given(study, **known):
    """The study with some of what it reads from the disk replaced."""
    changed = replace(study)
    vars(changed).update(known)
    return changed


def tables_of(study, differences=None, external=NO_EXTERNAL):
    return all_tables(study, pd.DataFrame() if differences is None else differences, NO_ERRORS, external)


def lines_of(table):
    return table.cells.to_numpy().tolist()


# --- results


def test_the_results_have_measured_and_published_numbers(study):
    table = results(study, {"mine": 0.77}).set_index("row")
    classical = ["v1-classical", "v2-classical", "v2-gridsearch"]
    assert list(table.index) == [*classical, "convnext_restarts", "convnext_restarts-tta", "mine", "best"]
    restarts, tta = table.loc["convnext_restarts"], table.loc["convnext_restarts-tta"]
    assert (restarts["published_leaderboard"], restarts["val_f1"]) == (0.7327, pytest.approx(0.4))
    assert pd.isna(tta["val_f1"])
    assert tta["test_f1_tta"] == pytest.approx(0.8)
    assert (table.loc["v2-classical", "val_f1"], table.loc["v2-gridsearch", "test_f1"]) == pytest.approx((0.4, 0.2))
    assert (table.loc["mine", "public_score"], table.loc["best", "test_f1"]) == pytest.approx((0.77, 0.8))
    assert table.loc["mine", "title"] == "convnext_restarts + γ = 3"
    assert pd.isna(table.loc["mine", "published_title"])
    assert (study.winner, study.best_network) == ("mine", "mine")


def test_the_results_as_markdown_and_as_a_chart_have_intervals(study):
    table = results(study)
    low, high = table.set_index("row").loc["mine", ["test_f1_low", "test_f1_high"]]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(table).splitlines()]
    assert lines[0] == list(HEADINGS.values())
    assert {len(line) for line in lines} == {8}
    (mine,) = (line for line in lines if line[0] == "`mine`")
    assert mine[1:4] == ["convnext_restarts + γ = 3", "0.800", f"0.600 ({low:.3f}–{high:.3f})"]
    assert mine[-2:] == ["–", "–"]
    unlabelled = markdown(table.assign(test_f1=np.nan, test_f1_tta=np.nan))
    assert "test F1" not in unlabelled
    assert "test accuracy" in unlabelled
    (data,) = charts.progression(table).to_dict()["datasets"].values()
    bars = {(one["row"], one["part"]): (one["low"], one["high"]) for one in data if one["low"] is not None}
    assert bars["mine", charts.PARTS[1]] == pytest.approx((low, high), abs=0.001)
    assert ("mine", charts.PARTS[0]) not in bars  # the validation part has none


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
def test_a_wrong_public_score_is_refused(tmp_path, entries, message):
    write_text(tmp_path / "scores.csv", f"row,score\n{entries}\n")
    with pytest.raises(UserError, match=message):
        read_public_scores(tmp_path / "scores.csv", ["final"])
    write_text(tmp_path / "scores.csv", "row,score\nfinal,0.77\n")
    assert read_public_scores(tmp_path / "scores.csv", ["final"]) == {"final": 0.77}


def test_a_title_has_the_main_settings_the_changes_or_what_was_selected(study, params):
    sample, report = (
        resolve(params | {"profile": name, "rows": []})["report"]["ladder"] for name in ("sample", "report")
    )
    lite = "tf_efficientnet_lite0, ImageNet weights, cross-entropy, cosine schedule"
    assert title(sample["efficientnet"]) == lite
    assert "b3.ra2_in1k, ImageNet weights, cross-entropy, log-dampened class weights" in title(report["efficientnet"])
    assert "mixup + 2 frozen epochs" in title(sample["freeze"])
    assert title(report["final"]) == "cutmix + γ = 1, 1/√n class weights, weight decay 0.01"
    # settings and values without a phrase
    assert title({"from": "final", "augment": {"rotation": 90.0}, "seed": 7}) == "final + augment.rotation 90.0, seed 7"
    assert title({"from": "final", "loss": {"name": "poly"}}) == "final + loss.name poly"
    assert title({"from": "final"}) == "final + nothing"
    found = titles(given(study, folds={**study.folds, "v2-knn": {**study.folds["v2-knn"], "f1": 0.5}}))
    assert found["v2-classical"] == f"KNN on {len(feature_set('v2').NAMES)} features, best of 6 classifiers"
    assert found["v2-gridsearch"] == "SMOTE, gradient boosting: 300 rounds, depth 7"
    assert found["best"] == "mean of mine and the best classifier on v2"


# --- differences


def test_a_model_is_compared_with_those_it_builds_on_and_with_the_best_network(study):
    """On 40 test images of SNE, 40 of LY and 3 of PLY; by model and TTA, how many tenths are right."""
    tenths = {("v2-gridsearch", False): 5, ("convnext_restarts", False): 7, ("convnext_restarts", True): 7}
    tenths |= {("mine", False): 9, ("mine", True): 9, ("v2-classical", False): 6, ("best", False): 8}
    target = np.repeat([SNE, LY, PLY], [40, 40, 3])
    predicted = {name: np.where(np.arange(83) % 10 < n, target, MO) for name, n in tenths.items()}
    known = given(study, test=study.test._replace(target=target, predicted=predicted), measured=study.measured)
    found = compare_models(known)
    assert found[["row", "against"]].drop_duplicates().to_numpy().tolist() == [
        ["v2-gridsearch", "mine"],
        ["convnext_restarts", "mine"],
        ["convnext_restarts-tta", "convnext_restarts"],
        ["mine", "convnext_restarts"],
        ["v2-classical", "mine"],
        ["best", "mine"],
        ["best", "v2-classical"],
    ]
    assert found["score"].tolist() == ["f1", "f1_common"] * 7  # of PLY there are three
    without = found[found["score"] == "f1_common"].set_index("row")
    assert without["verdict"].tolist()[:4] == ["lower", "lower", "undecided", "higher"]
    assert (without.at["convnext_restarts-tta", "difference"], without.at["convnext_restarts-tta", "p"]) == (0, 1)
    tables = tables_of(known, found)
    assert ["mine", "convnext_restarts", "higher"] in [line[:3] for line in lines_of(tables["Differences"])]
    assert lines_of(tables["Differences"])[1][-1] == "without rare classes"
    assert [line[0] for line in lines_of(tables["Table 1"]) if "†" in line[-1]] == ["PLY (prolymphocyte)"]
    assert "Differences" not in tables_of(known)


# --- predictions of the test part


def predict(run, tta=True, **classes):
    """Predictions of test images by id; with TTA, the class as far from the last one."""
    probabilities = np.eye(13)[list(classes.values())]
    augmented = probabilities[:, ::-1] if tta else None
    found = Predictions(np.array(list(classes)), np.full(len(classes), -1), probabilities, augmented)
    write_predictions(f"runs/{run}/{'predict' if tta else 'gridsearch'}/predictions.npz", {"test": found})


def predictions_of(study, labels, part="test", group="", **settings):
    """`Study.test` of the network `mine` and the grid search, for images of these labels."""
    images = pd.DataFrame({"id": list(labels), "label": labels.values(), "part": part, "group": ""})
    images.loc[images["id"].isin(["a", "c"]), "group"] = group
    settings |= {"networks": {"mine": "a network"}, "features": {}, "blend": {"made": False}}
    return given(replace(study, **settings), manifest=images).test


def test_predictions_are_matched_by_id(study):
    predict("mine-0", b=1, d=0, c=0, a=0)  # another order than the manifest's
    predict("v2-0", tta=False, d=2, c=1, b=0, a=1)
    found = predictions_of(study, {"a": "SNE", "b": "LY", "c": "", "d": "MO"}, group="p")
    assert found.target.tolist() == [0, 1, 2]
    assert {name: it.tolist() for name, it in found.predicted.items()} == {
        ("v2-gridsearch", False): [[1, 0, 2]],
        ("mine", False): [[0, 1, 0]],
        ("mine", True): [[12, 11, 12]],
    }
    assert len(set(found.group)) == 3


def test_repeats_have_an_ensemble_and_outer_folds_are_pooled(study):
    for repeat, (a, b) in {0: (0, 0), 3: (0, 1), 4: (1, 1)}.items():
        predict(f"mine-{repeat}", a=a, b=b)
    found = predictions_of(study, {"a": "SNE", "b": "LY"}, repeats=[0, 3, 4]).predicted
    assert found["mine", False].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert found["mine-ensemble", False].tolist() == [[0, 1]]
    assert {name for name, _ in found} == {"mine", "mine-ensemble"}
    # two times two folds; the unlabelled image is predicted in all of them and not scored
    for repeat, some in enumerate(({"a": 0, "c": 2}, {"b": 0}, {"b": 1}, {"c": 1, "a": 0})):
        predict(f"mine-{repeat}", **some, u=3)
    labels, part = {"a": "SNE", "b": "LY", "c": "MO", "u": ""}, ["train"] * 3 + ["test"]
    found = predictions_of(study, labels, part, repeats=range(4), outer=2)
    assert found.target.tolist() == [0, 1, 2]
    assert found.predicted["mine", False].tolist() == [[0, 0, 2], [0, 1, 1]]


# --- data of the page


def test_the_head_has_the_best_model_and_the_report_only_where_it_compares(study):
    def cards(study):
        return {heading: rest for heading, *rest in page.cards(study, results(study))}

    found = cards(study)
    assert found["Validation F1"][0] == "0.800"
    assert found["Test F1 with TTA"][0] == "0.600"
    assert {"Best network", "Best in the report"}.isdisjoint(found)  # the best model is that network
    measured = {**study.measured, "v2-classical": {"val_f1": 0.95}}  # without a test score
    found = cards(given(replace(study, source="wbcbench"), measured=measured))
    assert found["Best network"] == ["mine", "validation F1 0.800, test F1 0.600"]
    assert "Test accuracy" not in found
    assert found["Best in the report"][0] == "0.774"


def test_absent_classes_have_no_row_and_no_column(study):
    classes = study.classes.assign(train=[13015, *[11] * 11, 0], test=[5] * 12 + [0])
    assert len(lines_of(tables_of(given(study, classes=classes))["Table 1"])) == 12
    counts = np.zeros((13, 13), int)
    counts[SNE, SNE], counts[SNE, BNE], counts[MO, SNE] = 3, 1, 2
    (data,) = charts.confusion(given(study, confusions={("mine", "test"): counts}), "").to_dict()["datasets"].values()
    cells = {(one["actual"], one["predicted"]): (one["images"], one["fraction"]) for one in data}
    assert cells == {("SNE", "SNE"): (3, 0.75), ("SNE", "BNE"): (1, 0.25), ("MO", "SNE"): (2, 1), ("MO", "MO"): (0, 0)}
    spec = charts.class_fractions(given(study, classes=classes)).to_dict()
    (data,) = spec["datasets"].values()
    (scale,) = (layer["encoding"]["x"]["scale"] for layer in spec["layer"])
    assert scale["type"] == "log"
    assert all(scale["domain"][0] < line["fraction"] <= scale["domain"][1] for line in data)


def test_some_points_of_each_class_are_shown_and_ids_are_text(study):
    labels = np.repeat(CLASSES, [page.PER_CLASS + 5] * 13)
    points = [(id, label, 0, 1) for id, label in zip(["NA", *map(str, range(len(labels) - 1))], labels, strict=True)]
    for row, first in zip(ROWS, (0, 1), strict=True):
        write_csv(f"runs/{row}-0/embed/points.csv", ["id", "label", "x", "y"], points[first:])
    tables, shown = page.projection_points(ROWS, 0)
    assert "NA" in shown
    assert set(tables["convnext_restarts"]["label"].value_counts()) == {page.PER_CLASS}
    assert len(tables["mine"]) == len(tables["convnext_restarts"]) - 1


HASH = """
import hashlib
import altair as alt, pandas as pd
from wbc.report.charts import picture
chart = alt.Chart(pd.DataFrame({"x": [0, 1], "y": ["γ", "1/√n"]})).mark_point().encode(x="x", y="y")
print(hashlib.sha256(picture(chart)).hexdigest())
"""


def test_a_picture_is_the_same_on_a_machine_without_fonts():
    fonts = Path("/usr/share/fonts")
    hide = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs none {fonts} && exec "$@"', "sh"]
    if (
        not (shutil.which("unshare") and fonts.is_dir())
        or subprocess.run([*hide, "true"], capture_output=True).returncode
    ):
        pytest.skip("the system's fonts cannot be hidden here: no unshare, or it is not allowed")
    draw = [sys.executable, "-c", HASH]
    with_fonts, without = (subprocess.run([*way, *draw], capture_output=True, text=True) for way in ([], hide))
    assert with_fonts.stdout == without.stdout, without.stderr
    assert len(without.stdout) == 65


def test_models_are_compared_on_the_cells_that_all_of_them_predicted(study):
    def write(path, **parts):
        found = {
            name: Predictions(np.array(ids), np.array(target), certain(*classes), certain(*classes))
            for name, (ids, target, classes) in parts.items()
        }
        write_predictions(f"runs/{path}/predictions.npz", found)

    test = (["x", "y"], [3, -1], [3, 4])  # y has no label
    more = (["d", "c", "b", "a"], [5, 2, 1, 0], [5, 2, 2, 0])
    external = (["x", "z"], [3, 7], [4, 7])  # z's class is not in the study
    write("convnext_restarts-0/predict", validation=(["a", "b", "c"], [0, 1, 2], [0, 1, 1]), test=test)
    write("mine-0/predict", validation=more, test=test, laboratory=external)
    write("best-0", validation=more, test=test)
    write("v2-0/gridsearch", test=(["x", "y"], [3, -1], [3, 3]))
    manifest = study.manifest[study.manifest["label"] != CLASSES[7]]
    write_csv("data/ingest/laboratory/manifest.csv", ["id", "label"], [("x", CLASSES[3]), ("z", CLASSES[7])])

    found = cells.parts(given(replace(study, features={}), manifest=manifest))
    assert list(found) == ["validation", "test", "laboratory"]
    validation = found["validation"]
    assert (validation.ids.tolist(), validation.target.tolist()) == (["a", "b", "c"], [0, 1, 2])
    predicted = {name: each.tolist() for name, each in validation.predicted.items()}
    assert predicted == {"convnext_restarts": [0, 1, 1], "mine": [0, 2, 2], "best": [0, 2, 2]}
    assert found["test"].predicted["v2-gridsearch"].tolist() == [3]
    assert (found["laboratory"].ids.tolist(), list(found["laboratory"].predicted)) == (["x"], ["mine"])


def test_an_outline_follows_the_mask():
    mask = np.zeros((200, 100), np.uint8)
    mask[50:150, 20:80] = 1
    mask[80:120, 40:60] = 2
    assert cells.outline(mask) == "M20,25 20,74 79,74 79,25ZM40,40 40,60 59,60 59,40Z"
    assert cells.outline(np.zeros_like(mask)) == ""


# --- tables


def test_every_table_of_the_report_has_its_numbers_and_ours(study, params):
    found = tables_of(study)
    first, rest = (f"Table {i}" for i in range(2, 5)), (f"Table {i}" for i in range(5, 9))
    assert list(found) == ["Table 1", "Masks", *first, *rest, "Single classes", "Other numbers"]
    lines = {name: lines_of(table) for name, table in found.items()}
    assert ["SNE (segmented neutrophil)", "13,015", "45.03", "60", "30.00", "5"] in lines["Table 1"]
    assert len(lines["Table 1"]) == len(TABLE_1)
    own = len(feature_set("v2").NAMES) - len(of_the_report("v2"))
    here = [[int(line[2]), int(line[4])] for line in lines["Table 2"]]
    assert here == [[4, 20 + own], [3, 39], [2, 20], [0, 10], [9, 89 + own]]
    (forest,) = (line for line in lines["Table 3"] if line[0] == "Random forest")
    assert forest[1:3] + forest[4:6] == ["0.326", "0.400 ± 0.014", "0.783", "0.700 ± 0.000"]
    assert lines["Table 4"][0][3].startswith("0.400 (0.")
    assert {here for _, _, here in lines["Table 5"]} == {"–"}  # the study has no row `final`
    augmentation = lines_of(tables_of(replace(study, augment=params["augment"]))["Table 5"])
    assert all(report == here for _, report, here in augmentation)  # params.yaml is the report's
    assert lines["Table 6"][2][1:] == ["convnext_restarts", "0.696", "0.400", "0.733", "0.600"]
    assert lines["Table 6"][3][1:] == ["convnext_restarts", "0.698", "0.600", "0.747", "0.800"]
    assert lines["Table 8"][-1][1:] == ["–", "0.725", "–", "0.774", "–"]
    assert ["convnext_restarts", "recall", "PLY", "0.50", "0.40", "5"] in lines["Single classes"]
    assert "final" not in [line[0] for line in lines["Single classes"]]
    here = [line[2] for line in lines["Other numbers"]]
    assert here == ["300, 7", "–", "28, 48", "+0.200", "60% of 5"]
    assert lines["Masks"] == [["hsv", "0.600", "0.500", "–", "–", "25.0"], ["disc", "–", "–", "–", "–", "0.0"]]
    assert "the 7 images" in found["Masks"].note
    assert "## Table 8: " in tables_markdown(found)


def test_external_scores_are_beside_those_of_the_test_part(study):
    here = {"images": 30, "classes": 2, "f1": 0.4, "f1_low": 0.35, "f1_high": 0.46, "test_f1": 0.7, "novel": 0.92}
    external = pd.DataFrame([{"set": "other", "row": "mine", **here}], columns=list(EXTERNAL))
    table = tables_of(study, external=external)["External sets"]
    line = table.cells.set_index("model").loc["mine"]
    assert (line["test: F1"], line["external: F1"]) == ("0.700", "0.400 (0.350–0.460)")
    assert (line["external: accuracy"], line["external: novel"], line["AUROC"]) == ("–", "0.92", "–")
    assert "other: 30 images of 2 classes" in table.note
    several = pd.concat([external, external.assign(set="third")])
    assert tables_of(study, external=several)["External sets"].cells["set"].tolist() == ["other", "third"]


def test_corruptions_are_sorted_the_worst_first(study):
    scores = {"jpeg": [0.8, 0.7, 0.6, 0.5], "motion": [0.8, 0.4, 0.3, 0.2]}
    rows = [(name, s, f1) for name, found in scores.items() for s, f1 in zip((0, 1, 3, 5), found, strict=True)]
    write_csv("runs/mine-0/robustness/scores.csv", ["corruption", "severity", "f1"], rows)
    robust = replace(study, robust=["mine"])
    table = tables_of(robust)["Corruptions"]
    assert table.cells["corruption"].tolist() == ["none", "motion", "jpeg", "mean"]
    assert table.cells["mean"].tolist() == ["0.800", "0.300", "0.600", "0.450"]
    assert table.cells.iloc[1, 2:].tolist() == ["0.400", "0.300", "0.200", "0.300"]
    (data,) = charts.robustness(robust).to_dict()["datasets"].values()
    assert len(data) == 8


# --- labels and plots


def test_a_label_is_doubted_where_an_out_of_fold_model_predicts_another(tmp_path):
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
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "images.npy", found)
    for name in ("test.npz", "empty.npz", "images.npy"):
        with pytest.raises(UserError, match=f"{name}: not a classifier's predictions"):
            labels.suspects(tmp_path / name)


def test_plots_have_the_epochs_classes_and_pairs(study):
    found = plots.epochs(study)
    assert found["row"].value_counts().to_dict() == {"convnext_restarts": 96, "mine": 2}
    assert found.to_numpy().tolist()[-2:] == [["mine", "validation", 1, 2.0, 0.1], ["mine", "training", 1, 1.0, 0.3]]
    found = plots.classes(study)
    assert set(found["row"]) == {"v1-classical", "v2-classical", *ROWS}
    of_sne = found[(found["class"] == "SNE") & (found["row"] == "mine")]
    assert of_sne[["f1", "images"]].to_numpy().tolist() == [[0.8, 5]]
    assert plots.confusion(study).to_numpy().tolist()[:5] == [["SNE", "SNE"]] * 4 + [["SNE", CLASSES[-BNE]]]
