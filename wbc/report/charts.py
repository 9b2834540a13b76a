"""The report's figures as Vega-Lite charts. Text and lines take the page's colour, for light and dark ground."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import altair as alt
import matplotlib
import numpy as np
import pandas as pd
import vl_convert

from wbc.core.classes import CLASSES, TABLE_1
from wbc.report.study import Study

alt.data_transformers.disable_max_rows()  # the limit protects notebooks

# All colours have a contrast of at least 3 with white and with the page's dark ground (WCAG 2.2, 1.4.11).
BLUE, ORANGE, GREY = "#3b82f6", "#e0600f", "#7d8590"
INK = "currentColor"
SOURCES = {"here": BLUE, "report": ORANGE}
PARTS = ("validation", "leaderboard or test", "test with TTA")
PALETTE = (
    "#4e79a7", "#d97706", "#59a14f", "#e15759", "#b07aa1", "#3d9a94", "#9c755f", "#2f6fff", "#a8870f", "#e0569b",
    "#c2185b", "#7d8590", "#00a878",
)  # fmt: skip
COLOURS = dict(zip(CLASSES, PALETTE, strict=True))
TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12}
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": TEXT
    | {"titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 220, "gridColor": INK, "gridOpacity": 0.12}
    | {"domainColor": INK, "domainOpacity": 0.3, "tickColor": INK, "tickOpacity": 0.3},
    "legend": TEXT | {"orient": "top", "title": None},
    "mark": {"tooltip": {"content": "data"}},
    "text": {"color": INK},
    "rule": {"color": INK},
}


def finish(description: str, height: int, *layers: alt.Chart, chosen: str = "") -> alt.LayerChart:
    """Layers as one chart that is as wide as the page.

    Args:
        description: for readers who do not see the chart.
        height: in pixels.
        layers: of the chart. Tooltips show the columns of their data.
        chosen: first value of the parameter `name`; the chart then shows only data with this `name`.
    """
    if chosen:
        layers = [layer.transform_filter("datum.name == name") for layer in layers]
    chart = alt.layer(*layers).properties(width="container", height=height, description=description)
    return (chart.add_params(alt.param(name="name", value=chosen)) if chosen else chart).configure(**CONFIG)


def score(channel: type, field: str, title: str = "macro F1") -> alt.X | alt.Y:
    """An axis from 0 to 1."""
    return channel(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))


def category(channel: type, field: str, order: Sequence[str], title: str | None = None) -> alt.X | alt.Y:
    """An axis of names in this order, with a grid if it has no title; names without data are left out."""
    return channel(f"{field}:N", sort=list(order), title=title, axis=alt.Axis(grid=title is None))


def colour(field: str, colours: Mapping[str, str], **legend: int) -> alt.Color:
    """Colours by name."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend(symbolOpacity=1, **legend))


def picture(chart: alt.LayerChart, width: int = 720) -> bytes:
    """A chart as a PNG, `width` pixels wide before it is scaled, with the same fonts on every machine."""
    # This font comes with matplotlib. One of the same family on the machine takes precedence; it is the same version.
    vl_convert.register_font_directory(str(Path(matplotlib.get_data_path(), "fonts", "ttf")))
    spec = chart.properties(width=width, background="white").to_dict()
    spec["config"]["font"] = "DejaVu Sans"
    return vl_convert.vegalite_to_png(spec, scale=1.5)


def class_fractions(study: Study) -> alt.LayerChart:
    """Fraction of each class in the training part, here and in the report (Figure 1), on a logarithmic axis."""
    images = pd.concat({"here": study.classes["train"], "report": pd.Series(TABLE_1)}, names=["source", "label"])
    data = pd.DataFrame({"images": images, "fraction": (images / images.groupby("source").transform("sum")).round(6)})
    data = data[data["images"] > 0].reset_index()
    lowest = 10.0 ** math.floor(math.log10(data["fraction"].min()))
    x = alt.X(
        "fraction",
        title="fraction of the training images, logarithmic",
        scale=alt.Scale(type="log", domain=[lowest, 1]),
        axis=alt.Axis(format="~%", values=[0.00001, 0.0001, 0.001, 0.01, 0.1, 1]),
    )
    shape = alt.Shape("source", scale=alt.Scale(domain=list(SOURCES), range=["circle", "square"]))
    points = alt.Chart(data).mark_point(filled=True, size=90, opacity=0.9)
    points = points.encode(x=x, y=category(alt.Y, "label", CLASSES), color=colour("source", SOURCES), shape=shape)
    description = "Fraction of each class in the training part, here and in the report."
    return finish(description, 22 * data["label"].nunique(), points)


def progression(results: pd.DataFrame) -> alt.LayerChart:
    """Macro F1 of every model, published and measured, with intervals (Tables 6 and 8)."""
    columns = {
        "published_val_f1": ("report", PARTS[0]),
        "published_leaderboard": ("report", PARTS[1]),
        "val_f1": ("here", PARTS[0]),
        "test_f1": ("here", PARTS[1]),
        "test_f1_tta": ("here", PARTS[2]),
    }
    lines = []
    for name, (source, part) in columns.items():
        title = results["title" if source == "here" else "published_title"]
        line = results[["row"]].assign(title=title, source=source, part=part, f1=results[name])
        for end in ("low", "high"):
            line[end] = results.get(f"{name}_{end}", np.nan)
        lines.append(line.dropna(subset="f1"))
    base = alt.Chart(pd.concat(lines).round(3)).encode(
        y=category(alt.Y, "row", results["row"]),
        yOffset=alt.YOffset("part:N", sort=list(PARTS)),  # keeps the intervals of a model apart
        color=colour("source", SOURCES),
    )
    shapes = alt.Scale(domain=list(PARTS), range=["circle", "square", "triangle-up"])
    shape = alt.Shape("part", scale=shapes, legend=alt.Legend(orient="bottom", columns=1, symbolFillColor=INK))
    points = base.mark_point(filled=True, size=70, opacity=0.9).encode(x=score(alt.X, "f1"), shape=shape)
    intervals = base.transform_filter("datum.low !== null").mark_rule(strokeWidth=2, opacity=0.5)
    description = "Macro F1 of each model with 95% intervals, in the report and here; the table has the numbers."
    return finish(description, 36 * len(results), intervals.encode(x="low:Q", x2="high:Q"), points)


def reliability(curves: pd.DataFrame) -> alt.LayerChart:
    """Fraction of correct predictions by their probability; the columns are `wbc.report.calibration.CURVES`."""
    diagonal = alt.Chart(pd.DataFrame({"x": [0, 1]})).mark_line(strokeDash=[4, 4], color=GREY).encode(x="x", y="x")
    lines = alt.Chart(curves.round(3)).mark_line(point=alt.OverlayMarkDef(size=40))
    lines = lines.encode(
        x=score(alt.X, "confidence", "probability of the predicted class"),
        y=score(alt.Y, "right", "fraction correct"),
        color=colour("probabilities", {"plain": BLUE, "with TTA": GREY}),
    )
    return finish("Fraction of correct predictions by their probability.", 400, diagonal, lines)


def robustness(study: Study) -> alt.LayerChart:
    """Macro F1 by severity, a line for each corruption; parameter `name`, the row."""
    data = study.robustness.rename(columns={"row": "name"}).round(3)
    colours = dict(zip(data["corruption"].unique(), PALETTE, strict=False))
    lines = alt.Chart(data).mark_line(point=alt.OverlayMarkDef(size=40))
    x = alt.X("severity:Q", axis=alt.Axis(values=sorted(data["severity"].unique())))
    lines = lines.encode(x=x, y=score(alt.Y, "f1"), color=colour("corruption", colours, columns=4))
    return finish("Macro F1 on corrupted test images by severity.", 360, lines, chosen=study.robust[0])


def external(scores: pd.DataFrame) -> alt.LayerChart:
    """Macro F1 of each model on its own test part and on an external set; parameter `name`, the set."""
    parts = {"external set": BLUE, "own test part": GREY}
    wide = scores.rename(columns={"set": "name", "f1": "external set", "test_f1": "own test part"})
    wide = wide[["name", "row", *parts, "f1_low", "f1_high"]].round(3)
    y = category(alt.Y, "row", wide["row"].unique())
    intervals = alt.Chart(wide).mark_rule(color=BLUE).encode(x=score(alt.X, "f1_low"), x2="f1_high:Q", y=y)
    points = alt.Chart(wide.melt(["name", "row"], list(parts), "part", "f1").dropna()).mark_circle(size=70, opacity=1)
    points = points.encode(x=score(alt.X, "f1"), y=y, color=colour("part", parts))
    description = "Macro F1 of each model on its own test part and on an external set."
    return finish(description, 22 * wide["row"].nunique(), intervals, points, chosen=wide["name"].iloc[0])


def confusion(study: Study, first: str) -> alt.LayerChart:
    """Confusion matrices (Figures 4, 6, 7, 9, 11 and 13): recall and number of images; parameter `name`."""
    tables = []
    for (name, part), counts in study.confusions.items():
        # The pairs that occur, and the diagonal, so that each class of the part has a row and a column
        actual, predicted = np.nonzero(counts + np.diag(counts.sum(1)))
        table = pd.DataFrame({"actual": actual, "predicted": predicted}).map(CLASSES.__getitem__)
        images = counts[actual, predicted]
        fraction = (images / counts.sum(1)[actual]).round(4)
        tables.append(table.assign(images=images, fraction=fraction, name=f"{name}, {part}"))
    base = alt.Chart(pd.concat(tables)).encode(
        x=category(alt.X, "predicted", CLASSES, "predicted class"), y=category(alt.Y, "actual", CLASSES, "true class")
    )
    opacity = alt.Opacity("fraction:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, 0.6]))
    percent = base.transform_calculate(percent="round(100 * datum.fraction) + '%'")
    layers = (
        base.mark_rect(color="#1d4ed8").encode(opacity=opacity),
        percent.mark_text(fontSize=10, dy=-5, aria=False).encode(text="percent:N"),
        base.mark_text(fontSize=9, dy=6, aria=False, opacity=0.75).encode(text="images:Q"),
    )
    return finish("Confusion matrix: percentage of each true class, and images.", 460, *layers, chosen=first)


def importance(ranked: pd.DataFrame) -> alt.LayerChart:
    """Macro F1 lost when a feature is shuffled: the twenty largest losses with standard deviations."""
    data = ranked.head(20).assign(low=lambda d: d["f1_lost"] - d["sd"], high=lambda d: d["f1_lost"] + d["sd"]).round(4)
    base = alt.Chart(data).encode(y=category(alt.Y, "feature", data["feature"]))
    bars = base.mark_bar(color=BLUE).encode(x=alt.X("f1_lost:Q", title="macro F1 lost when shuffled"))
    spread = base.mark_rule().encode(x=alt.X("low:Q", title=""), x2="high:Q")
    return finish("The twenty features whose shuffling costs most macro F1.", 20 * len(data), bars, spread)


def curves(study: Study, first: str, value: str) -> alt.LayerChart:
    """Macro F1 or loss (`value`: f1, loss) by epoch (Figure 10); parameter `name`, the row.

    Rules mark the best epoch, and where the learning rate rises: at a warm restart or a new head (`train.retrain`).
    """
    data = pd.concat(study.histories, names=["name"]).reset_index(level="name")
    best = {row: trained["best_epoch"] for row, trained in study.trained.items()}
    rises = data[data.groupby("name")["lr/head"].diff() > 0].assign(event="learning rate rises")
    marked = pd.concat([rises, data[data["epoch"] == data["name"].map(best)].assign(event="best epoch")])
    long = data.rename(columns={f"train/{value}": "training", f"val/{value}": "validation"})
    long = long.melt(["name", "epoch"], ["training", "validation"], "part", value).dropna().round(3)
    lines = alt.Chart(long).mark_line(point=alt.OverlayMarkDef(size=18))
    lines = lines.encode(
        x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False)),
        y=alt.Y(f"{value}:Q", title="macro F1" if value == "f1" else value, scale=alt.Scale(zero=value == "f1")),
        color=colour("part", {"validation": BLUE, "training": GREY}),
    )
    scale = alt.Scale(domain=["learning rate rises", "best epoch"], range=[[4, 4], [1, 0]])
    rules = alt.Chart(marked[["name", "epoch", "event"]]).mark_rule(opacity=0.6)
    rules = rules.encode(x="epoch:Q", strokeDash=alt.StrokeDash("event", legend=None, scale=scale))
    return finish(f"{value} by epoch, training and validation.", 240, rules, lines, chosen=first)


def projection(points: Mapping[str, pd.DataFrame], first: str) -> alt.LayerChart:
    """t-SNE of the validation part (Figures 8 and 12) from tables id, label, x, y by row, a picture at each point.

    Parameters are `name`, the row, and `marked`, the class that is highlighted, "" for all.
    """
    data = pd.concat(points, names=["name"]).reset_index(level="name").round(2)
    pictures = alt.LookupData(data=alt.Data(values=[], name="pictures"), key="id", fields=["image"])  # by the script
    present = {label: each for label, each in COLOURS.items() if label in set(data["label"])}
    circles = alt.Chart(data).mark_circle(size=55, aria=False)  # a screen reader would read out every picture
    circles = circles.transform_lookup(lookup="id", from_=pictures).encode(
        x=alt.X("x:Q", axis=None),
        y=alt.Y("y:Q", axis=None),
        color=colour("label", present, columns=5),
        opacity=alt.condition("!marked || datum.label == marked", alt.value(0.9), alt.value(0.08)),
        tooltip=["label:N", "id:N", "image:N"],
    )
    circles = circles.add_params(alt.param(name="marked", value=""))
    return finish("Each validation image as a point, similar images close together.", 460, circles, chosen=first)
