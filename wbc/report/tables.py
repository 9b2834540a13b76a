"""The report's Tables 1 to 8 and the tables beyond it: published numbers beside measured ones."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES, NAMES, TABLE_1
from wbc.core.tables import MASKS
from wbc.features import feature_set
from wbc.report import published
from wbc.report.differences import rare_classes
from wbc.report.study import Study
from wbc.scoring.calibration import BINS
from wbc.scoring.scores import RARE
from wbc.statistics import DRAWS

ABSENT = "–"
RARE_MARK = " †"
CLASSIFIERS = {"v1": "Table 3", "v2": "Table 4"}  # tables of the report, by feature set


class Table(NamedTuple):
    """A table whose cells are text."""

    title: str
    cells: pd.DataFrame
    note: str = ""


def number(value: float | None, digits: int = 3) -> str:
    """A number as text, `–` where there is none."""
    return ABSENT if value is None or pd.isna(value) else f"{value:.{digits}f}"


def spread(scores: Mapping[str, float], name: str) -> str:
    """A score's standard deviation over repeats and its interval, as far as they are known."""
    sd, low, high = (scores.get(f"{name}_{end}") for end in ("sd", "low", "high"))
    return ("" if pd.isna(sd) else f" ± {sd:.3f}") + ("" if pd.isna(low) else f" ({low:.3f}–{high:.3f})")


def number_with_interval(scores: Mapping[str, float], name: str) -> str:
    """A score with its `spread`."""
    return number(scores.get(name)) + spread(scores, name)


def is_text(column: pd.Series) -> bool:
    """Whether a column holds words, which are left-aligned, or numbers."""
    return column.str.contains("^[`A-Za-z]").any()


def imbalance(counts: pd.Series) -> str:
    """Images of the most common class per image of the rarest."""
    return f"{counts.max() / counts[counts > 0].min():.0f} : 1"


def all_tables(
    study: Study, differences: pd.DataFrame, calibration: pd.DataFrame, external: pd.DataFrame
) -> dict[str, Table]:
    """Every table by its name. Those without lines are left out, such as differences on an unlabelled test part."""
    tta = "Here: validation without TTA, test with TTA."
    found = {
        "Table 1": _classes(study),
        "Masks": _masks(study),
        "Table 2": _features(),
        **{
            CLASSIFIERS.get(features, f"Features {features}"): _classifiers(study, features)
            for features in study.features
        },
        "Table 5": _augmentation(study),
        "Table 6": _progression(study, "Table 6", "from classical models to TTA", "Here: only the last line with TTA."),
        "Table 7": _progression(study, "Table 7", "effect of MixUp", tta),
        "Table 8": _progression(study, "Table 8", "step by step", tta),
        "Single classes": _single_classes(study),
        "Other numbers": _other_numbers(study),
        "Differences": _differences(study, differences),
        "Calibration": _calibration(calibration),
        "Corruptions": _corruptions(study),
        "External sets": _external(external),
    }
    return {name: table for name, table in found.items() if len(table.cells)}


def markdown_table(cells: pd.DataFrame) -> str:
    """A table as Markdown, without padding."""
    aligned = cells.apply(is_text).map({True: "left", False: "right"})
    padded = cells.to_markdown(index=False, disable_numparse=True, colalign=aligned)
    return re.sub(r" +(?=\|)|(?<=\|) +", " ", re.sub(r"-{3,}", "---", padded))


def markdown(tables: Mapping[str, Table]) -> str:
    """All tables as one Markdown document."""
    parts = ["# Tables\n\nReport: printed in the report. Here: measured in this study.\n"]
    for name, (title, cells, note) in tables.items():
        parts += [f"## {name}: {title}\n", markdown_table(cells) + "\n", *([note + "\n"] if note else [])]
    return "\n".join(parts)


def _table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]], note: str = "") -> Table:
    return Table(title, pd.DataFrame(lines, columns=list(columns)), note)


def _classes(study: Study) -> Table:
    counts, rare = study.classes[study.classes.any(axis=1)], rare_classes(study)
    printed, here = sum(TABLE_1.values()), counts["train"].sum()
    lines = [
        (
            f"{label} ({NAMES[label]})",
            f"{TABLE_1[label]:,}",
            f"{100 * TABLE_1[label] / printed:.2f}",
            f"{train:,}",
            f"{100 * train / here:.2f}",
            f"{test:,}{RARE_MARK * (label in rare)}" if counts.test.any() else ABSENT,
        )
        for label, train, test in counts.itertuples()
    ]
    columns = ("class", "report: images", "report: %", "here: images", "here: %", "here: test images")
    note = f"Imbalance: {imbalance(pd.Series(TABLE_1))} in the report, {imbalance(counts.train)} here."
    if rare:
        note += f"{RARE_MARK}: fewer than {RARE} test images; the F1 of such a class is mostly chance."
    return _table("images per class in the training part", columns, lines, note)


def _masks(study: Study) -> Table:
    scores = {f"{part}_{name.lower()}": f"{part}: {name}" for part in ("cell", "nucleus") for name in ("Dice", "IoU")}
    lines = [
        (method, *(number(found.get(score)) for score in scores), number(100 * found["failed"], 1))
        for method, found in pd.read_csv(MASKS / STUDY / "scores.csv", index_col="method").iterrows()
    ]
    true_masks, images = (study.manifest["mask"] != "").sum(), len(study.manifest)
    note = (
        f"Dice and IoU: means over the {true_masks:,} images with a true mask; – where there are none, or where the "
        f"method finds no nuclei. Failed: percentage of all {images:,} masks that cannot be right, such as empty ones."
    )
    return _table("agreement with true masks", ("method", *scores.values(), "failed, %"), lines, note)


def _features() -> Table:
    def kind(feature: str) -> str:
        if feature.startswith(("glcm", "lbp")):
            return f"Texture {feature.split('_')[0].upper()}"
        colour = feature.endswith(("_mean", "_std")) or feature.startswith("ratio_")
        return "Colour (RGB + HSV, 3 regions)" if colour else "Morphology (cell + nucleus)"

    lines = []
    for category, v1, v2 in published.FEATURES:
        inside = [[category in ("Total", kind(it)) for it in feature_set(name).NAMES] for name in ("v1", "v2")]
        lines.append((category, v1, str(sum(inside[0])), v2, str(sum(inside[1]))))
    columns = ("category", "report: v1", "here: v1", "report: v2", "here: v2")
    return _table("number of features", columns, lines, "The report's v2 counts add up to 90.")


def _classifiers(study: Study, features: str) -> Table:
    printed, lines = published.CLASSIFIERS.get(features, {}), []
    models = [model for model in study.of_kind("classifier") if model.run == features]
    for model in sorted(models, key=lambda model: -study.folds[model.name]["f1"]):
        report = dict(zip(("accuracy", "f1"), printed.get(model.classifier, (None, None)), strict=True))
        folds, tested = study.folds[model.name], study.scores(model.name)
        line = {"model": published.NAMES.get(model.classifier, model.classifier)}
        for score, words in (("f1", "F1"), ("accuracy", "accuracy")):
            line |= {f"report: {words}": number(report[score])} if printed else {}
            line[f"here: {words}"] = f"{folds[score]:.3f} ± {folds[f'{score}_sd']:.3f}"
            line[f"here: test {words}"] = number_with_interval(tested, f"test_{score}")
        lines.append(line)
    title = f"classifiers on {len(feature_set(features).NAMES)} features, masks by {study.features[features]}"
    note = "Here: mean ± standard deviation over the folds, the best first. Test: 95% interval."
    return Table(title, pd.DataFrame(lines), note)


def _augmentation(study: Study) -> Table:
    lines = [
        (name, printed, here.format(**study.augment) if study.augment else ABSENT)
        for name, printed, here in published.AUGMENTATION
    ]
    return _table("augmentation of the last row", ("transformation", "report", "here"), lines)


def _progression(study: Study, name: str, title: str, note: str) -> Table:
    lines = []
    for configuration, val, leaderboard, row, *scores in published.PROGRESSION[name]:
        here = [number(study.measured.get(row, {}).get(score)) for score in scores]
        row = row if row in study.measured else ABSENT
        lines.append((configuration, row, number(val), here[0], number(leaderboard), here[1]))
    columns = ("configuration", "model here", "report: val F1", "here: val F1", "report: leaderboard", "here: test F1")
    return _table(title, columns, lines, note)


def _single_classes(study: Study) -> Table:
    lines = []
    for name, score, printed in published.PER_CLASS:
        here = study.per_class(name, "validation")
        for label in () if here is None else here.index.intersection(list(printed), sort=False):
            numbers = number(printed[label], 2), number(here.at[label, score], 2), f"{here.at[label, 'images']:.0f}"
            lines.append((name, score.replace("f1", "F1"), label, *numbers))
    note = "On the validation part; of gradient boosting, on all folds together."
    columns = ("model", "score", "class", "report", "here", "here: images")
    return _table("scores in the report's text (§4.3, §7.2.2, §7.6.1, §7.7.7)", columns, lines, note)


def _other_numbers(study: Study) -> Table:
    def epochs(row: str) -> str:
        known = row in study.trained
        return f"{study.trained[row]['best_epoch']}, {len(study.histories[row])}" if known else ABSENT

    scores = study.measured.get("convnext_restarts", {})
    confused = study.confusions.get(("convnext_restarts", "validation"))
    bands = [] if confused is None else confused[CLASSES.index("BNE")]
    here = (
        "{n_estimators}, {max_depth}".format(**study.grid),
        epochs("convnext_cosine"),
        epochs("convnext_restarts"),
        f"{scores['test_f1_tta'] - scores['test_f1']:+.3f}" if "test_f1" in scores else ABSENT,
        f"{bands[CLASSES.index('SNE')] / sum(bands):.0%} of {sum(bands)}" if sum(bands) else ABSENT,
    )
    lines = [(*printed, value) for printed, value in zip(published.OTHER, here, strict=True)]
    return _table("in the report's text", ("quantity", "report", "here"), lines)


def _differences(study: Study, differences: pd.DataFrame) -> Table:
    lines = [
        (
            it.row,
            it.against,
            it.verdict,
            f"{it.difference:+.3f} ({it.low:+.3f} to {it.high:+.3f})",
            "<0.001" if it.p < 0.001 else f"{it.p:.3f}",
            "without rare classes" if it.score == "f1_common" else "all",
        )
        for it in differences.itertuples()
    ]
    note = (
        "Macro F1 of a model minus that of the model it builds on, and of the best network on validation; same test "
        f"images, without TTA except for the model with that name. Interval: 95% bootstrap of {DRAWS:,} draws of the "
        "test images. p: two-sided permutation test. Undecided: the interval holds 0, or p is at least 5%. Among "
        "models that do not differ, about one comparison in twenty is decided by chance."
    )
    if len(study.repeats) == 1:
        note += " Each model was trained once; differences between training seeds are not included."
    columns = ("model", "compared with", "here: verdict", "difference", "p", "classes")
    table = _table("which models are better on the test part", columns, lines, note)
    if "f1_common" in set(differences.get("score", ())):
        return table._replace(note=f"{note} Prefer the lines without rare classes, whose F1 rests on few images.")
    return table._replace(cells=table.cells.drop(columns="classes"))


def _calibration(calibration: pd.DataFrame) -> Table:
    lines = []
    for (row, probabilities), found in calibration.groupby(["row", "probabilities"], sort=False):
        plain, tempered = found.to_dict("records")
        errors = [number(plain[name]) for name in ("ece", "ece_by_chance", "classwise_ece", "nll", "brier")]
        lines.append((row, probabilities, *errors, *(number(tempered[name]) for name in ("temperature", "ece", "nll"))))
    note = (
        "On the test part. ECE: mean distance between the probability of predictions and the fraction that is correct, "
        f"in {BINS} bins of equally many images; by chance: its expected value if the probabilities were true; "
        "class-wise: the mean over the classes. NLL in nats. Brier score: 0 to 2. T: the temperature with the lowest "
        "NLL on the validation part, after the T = 0.8 that TTA already applies."
    )
    columns = ("model", "probabilities", "here: ECE", "ECE by chance", "class-wise ECE", "NLL", "Brier", "T")
    return _table("how far probabilities can be trusted", (*columns, "ECE at T", "NLL at T"), lines, note)


def _corruptions(study: Study) -> Table:
    lines = []
    for row, found in study.robustness.groupby("row", sort=False):
        scores = found.pivot(index="corruption", columns="severity", values="f1")
        severe = scores.drop(columns=0).assign(mean=lambda d: d.mean(axis=1)).sort_values("mean")
        lines.append((row, "none", *[number(scores.iat[0, 0])] * severe.shape[1]))
        lines += [(row, corruption, *map(number, line)) for corruption, *line in severe.itertuples()]
        lines.append((row, "mean", *map(number, severe.mean())))
    note = (
        "Macro F1 on the test part, without TTA, the worst corruption first. Kinds and severities are those of "
        "MedMNIST-C for blood cells, applied to the scaled images; pixelate and jpeg are stronger on small ones."
    )
    columns = ("model", "corruption", "here: severity 1", "severity 3", "severity 5", "mean")
    return _table("scores on corrupted test images", columns, lines, note)


def _external(external: pd.DataFrame) -> Table:
    lines, sizes = [], {}
    for it in external.to_dict("records"):
        sizes[it["set"]] = f"{it['set']}: {it['images']} images of {it['classes']} classes"
        scores = [(number_with_interval(it, name), number(it[f"test_{name}"])) for name in ("f1", "accuracy")]
        trust = number(it["ece"]), number(it["test_ece"]), number(it["novel"], 2), number(it["test_novel"], 2)
        lines.append((it["row"], it["set"], *scores[0], *scores[1], *trust, number(it["auroc"])))
    note = (
        f"Classes that the set shares with the study ({'; '.join(sizes.values())}), without TTA, with 95% intervals. "
        "Test: the model's own test part, the same classes. ECE: of calibrated probabilities, see Calibration. Novel: "
        "fraction of images that the model calls unlike its training images, 0.01 if they are like them. AUROC: of the "
        "distance behind this, between the set and the test part; 0.5 where it does not separate them."
    )
    headings = (f"{part} {name}" for name in ("F1", "accuracy", "ECE", "novel") for part in ("external:", "test:"))
    table = _table("scores on images of other laboratories", ("model", "set", *headings, "AUROC"), lines, note)
    return table if len(sizes) > 1 else table._replace(cells=table.cells.drop(columns="set"))
