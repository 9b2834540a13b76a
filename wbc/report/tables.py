"""The report's Tables 1 to 8 again, what it prints beside what was measured here."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from wbc.core.classes import CLASSES, NAMES, TABLE_1
from wbc.features.sets.v1 import NAMES as V1
from wbc.features.sets.v2 import NAMES as V2
from wbc.report import published
from wbc.report.differences import rare
from wbc.report.study import Study
from wbc.scoring.calibration import BINS
from wbc.statistics import DRAWS, RARE

ABSENT = "–"
SCORE_NAMES = {"f1": "macro F1", "f1_common": "without rare classes"}
MARK = " †"  # of a class with few test images


class Table(NamedTuple):
    """A table ready to print: its cells are text."""

    title: str
    cells: pd.DataFrame
    note: str = ""


def number(value: float | None, digits: int = 3) -> str:
    """A number as text, `–` where there is none."""
    return ABSENT if value is None or pd.isna(value) else f"{value:.{digits}f}"


def interval(low: float, high: float) -> str:
    """Bounds as they stand behind a number, nothing where there are none."""
    return "" if pd.isna(low) else f" ({low:.3f}–{high:.3f})"


def spread(sd: float) -> str:
    """A standard deviation over repeats as it stands behind a number, nothing where there is none."""
    return "" if pd.isna(sd) else f" ± {sd:.3f}"


def bounded_number(scores: Mapping[str, float], name: str) -> str:
    """A score with its interval."""
    if name not in scores:
        return ABSENT
    return number(scores[name]) + interval(scores[f"{name}_low"], scores[f"{name}_high"])


def all_tables(
    study: Study, differences: pd.DataFrame, calibration: pd.DataFrame, external: pd.DataFrame
) -> list[Table]:
    """Tables 1 to 8 with one of the masks, the numbers in the report's text, and what those measured here bear."""
    tta = "Here: the validation part without TTA, the test part with it. The results table says what each row ran."
    found = [
        _classes(study),
        _masks(study),
        _features(),
        _classifiers(study, "v1", f"Table 3: {len(V1)} features"),
        _classifiers(study, "v2", f"Table 4: {len(V2)} features"),
        _all_classifiers(study),
        _augmentation(study),
        _progression(
            study, published.TABLE_6, "Table 6: macro F1 on the way to the leaderboard", "Here: the last line with TTA."
        ),
        _progression(study, published.TABLE_7, "Table 7: after adding MixUp", tta),
        _progression(study, published.TABLE_8, "Table 8: progression at each optimization step", tta),
        _single_classes(study),
        _other_numbers(study),
        _differences(differences, study),
        _calibration(calibration),
        _corruptions(study),
        _external(external),
    ]
    return [table for table in found if len(table.cells)]  # an unlabelled test part has no differences


def markdown_table(cells: pd.DataFrame, words: Collection[int] = (0,)) -> str:
    """A table of text as Markdown, all but the columns `words` to the right; a longer cell changes no other line."""
    aligned = ["left" if column in words else "right" for column in range(cells.shape[1])]
    padded = cells.to_markdown(index=False, disable_numparse=True, colalign=aligned)
    return re.sub(r" +(?=\|)|(?<=\|) +", " ", re.sub(r"-{3,}", "---", padded))


def markdown(tables: Sequence[Table]) -> str:
    """All of them as one Markdown document."""
    parts = ["# The report's tables, one of the masks, and what the numbers can tell\n"]
    for table in tables:
        parts.append(f"## {table.title}\n")
        parts.append(markdown_table(table.cells) + "\n")
        parts += [table.note + "\n"] if table.note else []
    return "\n".join(parts)


def _table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]], note: str = "") -> Table:
    return Table(title, pd.DataFrame(lines, columns=list(columns)), note)


def _classes(study: Study) -> Table:
    counts = study.classes
    printed, here = sum(TABLE_1.values()), counts["train"].sum()
    few = rare(study)
    lines = [
        (
            f"{label} ({NAMES[label]})",
            f"{TABLE_1[label]:,}",
            f"{100 * TABLE_1[label] / printed:.2f}",
            f"{counts.train[label]:,}",
            f"{100 * counts.train[label] / here:.2f}",
            f"{counts.test[label]:,}{MARK * (label in few)}" if counts.test.any() else ABSENT,
        )
        for label in CLASSES
    ]
    columns = ("class", "report: images", "report: %", "here: images", "here: %", "here: test")
    note = f"Most to fewest: {ratio(pd.Series(TABLE_1))} in the report, {ratio(counts.train)} here."
    if few:
        note += f" {MARK.strip()}: fewer than {RARE} test images, too few for an F1 that means anything."
    return _table("Table 1: class distribution in the training set", columns, lines, note)


def ratio(counts: pd.Series) -> str:
    """Images of the most common class for one of the rarest."""
    return f"{counts.max() / counts[counts > 0].min():.0f} : 1"


def _masks(study: Study) -> Table:
    scores = {f"{part}_{name.lower()}": f"{part}: {name}" for part in ("cell", "nucleus") for name in ("Dice", "IoU")}
    images, true_masks = study.images["train"] + study.images["test"], (study.manifest["mask"] != "").sum()
    lines = [
        (method, *(number(found.get(score)) for score in scores), number(100 * found["failed"], 1))
        for method, found in study.masks.iterrows()
    ]
    note = (
        f"Dice and IoU: means over the {true_masks:,} images that come with a true mask; – where there are none, "
        f"or where the method does not look for the nucleus. Failed: the share of all {images:,} masks that cannot be "
        "right, such as those without a cell."
    )
    columns = ("method", *scores.values(), "failed, %")
    return _table("Masks: agreement with the true ones", columns, lines, note)


def _features() -> Table:
    def count(names: Sequence[str], category: str) -> int:
        kinds = [_kind(name) for name in names]
        return len(names) if category == "Total" else sum(category.startswith(kind) for kind in kinds)

    lines = [
        (category, printed[0], str(count(V1, category)), printed[1], str(count(V2, category)))
        for category, printed in published.FEATURE_COUNTS.items()
    ]
    columns = ("category", "report: v1", "here: v1", "report: v2", "here: v2")
    return _table("Table 2: features", columns, lines, "The report's V2 column adds up to 90.")


def _kind(feature: str) -> str:
    """How the report's Table 2 begins the category of a feature."""
    if feature.startswith(("glcm", "lbp")):
        return f"Texture {feature.split('_')[0].upper()}"
    return "Colour" if feature.endswith(("_mean", "_std")) or feature.startswith("ratio_") else "Morphology"


def _classifiers(study: Study, features: str, title: str) -> Table:
    lines = []
    for name, (accuracy, f1) in published.CLASSIFIERS[features].items():
        cells = _validated_and_tested(study, f"{features}-{name}")
        lines.append((published.NAMES[name], number(accuracy), *cells["accuracy"], number(f1), *cells["f1"]))
    columns = ("model", "report: accuracy", "here: accuracy", "here: on test")
    columns += ("report: macro F1", "here: macro F1", "here: test macro F1")
    note = "Here: mean ± standard deviation over the folds; on the test part with its 95% interval."
    return _table(title, columns, lines, note)


def _validated_and_tested(study: Study, name: str) -> dict[str, tuple[str, str]]:
    """Of <features>-<classifier>, by score: over the folds with its spread, on the test part with its interval."""
    here, tested = study.folds[name], study.scores(name)
    return {
        key: (f"{here[key]:.3f} ± {here[f'{key}_sd']:.3f}", bounded_number(tested, f"test_{key}"))
        for key in ("f1", "accuracy")
    }


def _all_classifiers(study: Study) -> Table:
    lines = []
    for name in sorted(study.folds, key=lambda name: -study.folds[name]["f1"]):
        _, _, features, classifier = study.models[name]
        cells, words = _validated_and_tested(study, name), published.NAMES.get(classifier, classifier)
        lines.append((f"{features}, {study.features[features]}", words, *cells["f1"], *cells["accuracy"]))
    columns = ("features, masks", "model", "here: macro F1", "here: test macro F1", "here: accuracy", "here: on test")
    note = "From the best over the folds down; mean ± standard deviation over these, and the test part's 95% interval."
    return _table("Classical models: all of them", columns, lines, note)


def _augmentation(study: Study) -> Table:
    lines = [
        (name, text, here.format(**study.augment) if study.augment else ABSENT)
        for name, text, here in published.AUGMENTATION
    ]
    return _table("Table 5: final augmentation", ("transformation", "report", "here"), lines)


def _progression(study: Study, rows: Sequence[tuple[str, float, float, str, str, str]], title: str, note: str) -> Table:
    lines = []
    for configuration, val, leaderboard, row, *scores in rows:
        here = (number(study.measured.get(row, {}).get(score)) for score in scores)
        known = row if row in study.measured else ABSENT
        lines.append((configuration, known, *here, number(val), number(leaderboard)))
    columns = ("configuration", "row here", "here: val F1", "here: test F1", "report: val F1", "report: leaderboard")
    return _table(title, columns, lines, note)


def _single_classes(study: Study) -> Table:
    columns, cells = ["class"], [[label] for label in CLASSES]
    for name, heading, score, printed in published.PER_CLASS:
        columns += [f"report: {heading}", f"here: {heading}"]
        here = study.per_class(name, "validation")
        for label, line in zip(CLASSES, cells, strict=True):
            known = here is not None and label in here.index
            measured = f"{here.at[label, score]:.2f} ({here.at[label, 'images']:.0f})" if known else ABSENT
            line += [number(printed.get(label), 2), measured]
    note = "In brackets: images of the class, in the validation part or, for boosting, in all folds together."
    return _table("Single classes: what the text prints of them (§4.3, §7.2.2, §7.6.1, §7.7.7)", columns, cells, note)


def _other_numbers(study: Study) -> Table:
    def epochs(row: str) -> str:
        known = row in study.trained
        return f"{study.trained[row]['best_epoch']}, {len(study.histories[row])}" if known else ABSENT

    scores = study.measured.get("convnext_restarts", {})
    gain = f"{scores['test_f1_tta'] - scores['test_f1']:+.3f}" if "test_f1" in scores else ABSENT
    confused = study.confusions.get(("convnext_restarts", "validation"), pd.DataFrame(columns=["actual", "predicted"]))
    bands = confused.loc[confused["actual"] == "BNE", "predicted"]
    lines = [
        (
            "rounds and depth that the grid chose (§4.4)",
            "{}, {}".format(*published.GRID),
            "{n_estimators}, {max_depth}".format(**study.grid),
        ),
        (
            "best and last epoch of the plain cosine (§7.4)",
            "{}, {}".format(*published.COSINE),
            epochs("convnext_cosine"),
        ),
        (
            "best epoch with warm restarts, and the last (report: the last planned, §7.4)",
            "{}, {}".format(*published.RESTARTS),
            epochs("convnext_restarts"),
        ),
        ("macro F1 that TTA adds, on the leaderboard or test part (§7.5)", f"{published.TTA_GAIN:+.3f}", gain),
        (
            "share of BNE taken for SNE with warm restarts (§7.6.1)",
            f"{published.BNE_AS_SNE:.0%}",
            f"{(bands == 'SNE').mean():.0%} of {len(bands)}" if len(bands) else ABSENT,
        ),
    ]
    return _table("Other numbers: what the text prints beside the tables", ("what", "report", "here"), lines)


def _differences(differences: pd.DataFrame, study: Study) -> Table:
    lines = [
        (
            it.row,
            it.verdict,
            it.against,
            it.why,
            SCORE_NAMES[it.score],
            f"{it.difference:+.3f}",
            f"{it.low:+.3f} to {it.high:+.3f}",
            "<0.001" if it.p < 0.001 else f"{it.p:.3f}",
        )
        for it in differences.itertuples()
    ]
    note = (
        "Verdict: is the row's macro F1 higher or lower than the other's, on the same test images, without TTA but for "
        "the row that is one. Difference: the row's less the other's. "
        f"Interval: 95% of {DRAWS:,} draws of these images. p: of swapping the two predictions of an image at random. "
        "Undecided: the interval holds 0, or p is at least 5%; other test images could turn the order around. "
        "Where no two rows differ, one comparison in twenty is decided all the same."
    )
    if len(study.repeats) == 1:
        note += " Each row was trained once: what another seed would change comes on top."
    if SCORE_NAMES["f1_common"] in [line[3] for line in lines]:
        note += (
            " Where classes are rare, trust the line without them: an F1 of a few images has no interval to rely on."
        )
    columns = ("row", "here: verdict", "against", "why", "score", "difference", "95% interval", "p")
    return _table("Differences: which rows are better, on the test part", columns, lines, note)


def _calibration(calibration: pd.DataFrame) -> Table:
    lines = []
    for (row, probabilities), found in calibration.groupby(["row", "probabilities"], sort=False):
        plain, tempered = found.itertuples()
        errors = [number(getattr(plain, name)) for name in ("ece", "ece_by_chance", "classwise_ece", "nll", "brier")]
        after = [number(getattr(tempered, name)) for name in ("temperature", "ece", "nll")]
        lines.append((row, probabilities, *errors, *after))
    note = (
        "On the test part. ECE: mean distance between a prediction's probability and the share that is right, in "
        f"{BINS} groups of equally many images; by chance: what as many would show if the probabilities were true; "
        "class-wise: the mean over the classes' own. NLL in nats; Brier: 0 to 2. T: the temperature with the least "
        "NLL on the validation part. The report's is 0.8; TTA has divided by that already, and its T here comes on "
        "top."
    )
    columns = (
        "row",
        "probabilities",
        "here: ECE",
        "by chance",
        "class-wise ECE",
        "NLL",
        "Brier",
        "T",
        "ECE at T",
        "NLL at T",
    )
    return _table("Calibration: whether probabilities mean what they say", columns, lines, note)


def _corruptions(study: Study) -> Table:
    lines = []
    for row, found in study.robustness.groupby("row", sort=False):
        scores = found.pivot(index="corruption", columns="severity", values="f1")
        severe = scores.drop(columns=0).assign(mean=lambda d: d.mean(axis=1)).sort_values("mean")
        lines.append((row, "none", *[number(scores.iat[0, 0])] * severe.shape[1]))
        lines += [(row, corruption, *map(number, line)) for corruption, *line in severe.itertuples()]
        lines.append((row, "all", *map(number, severe.mean())))
    note = (
        "Macro F1 on the test part, without TTA, the worst corruption first. Kinds and strengths are those of "
        "MedMNIST-C's blood cells, drawn on the scaled images; pixelate and jpeg weigh more the smaller these are."
    )
    columns = ("row", "corruption", "here: severity 1", "severity 3", "severity 5", "mean")
    return _table("Corruptions: what another microscope would cost", columns, lines, note)


def _external(external: pd.DataFrame) -> Table:
    def percent(share: float) -> str:
        return ABSENT if pd.isna(share) else f"{share:.0%}"

    lines = []
    for it in external.to_dict("records"):
        both = [(bounded_number(it, name), number(it[f"home_{name}"])) for name in ("f1", "accuracy")]
        trust = (number(it["ece"]), number(it["home_ece"]), percent(it["unusual"]), percent(it["unusual_at_home"]))
        lines.append((it["row"], *both[0], *both[1], number(it["f1_tta"]), *trust, number(it["auroc"]), it["set"]))
    sizes = [
        f"{name}: {it.images} images of {it.classes} classes"
        for name, it in external.groupby("set", sort=False).first().iterrows()
    ]
    note = (
        f"Of the classes that both have ({'; '.join(sizes)}), with 95% intervals; at home: the row's own test part, of "
        "the same classes. Without TTA but for the column that says so. ECE as in the table above, of calibrated "
        "probabilities. Unusual: called unlike the training images, which one in a hundred at home should be; AUROC: "
        "of the distance that this rests on, 0.5 where it cannot tell the other laboratory's images."
    )
    columns = ("row", "here: macro F1", "macro F1 at home", "here: accuracy", "accuracy at home", "macro F1 + TTA")
    columns += ("here: ECE", "ECE at home", "here: unusual", "unusual at home", "AUROC", "set")
    return _table("Other laboratories: what a row scores on images from elsewhere", columns, lines, note)
