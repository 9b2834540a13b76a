"""The report's figures as Vega-Lite charts, drawn with Altair.

Text and lines take the page's own colour, so that a chart is readable on dark and on light ground.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import altair as alt
import matplotlib
import pandas as pd
import vl_convert

from wbc.core.classes import CLASSES, TABLE_1
from wbc.report.study import Study

alt.data_transformers.disable_max_rows()  # a chart's data are in the page, not in a notebook

# All colours have a contrast of at least 3 with white and with the page's dark ground (WCAG 2.2, 1.4.11).
BLUE, ORANGE, GREY = "#3b82f6", "#e0600f", "#7d8590"  # here, in the report, neither
RISES, BEST = "learning rate rises", "best epoch"
INK = "currentColor"
ON = ("validation", "leaderboard or test", "test + TTA")
COLOURS = dict(
    zip(
        CLASSES,
        (
            "#4e79a7", "#d97706", "#59a14f", "#e15759", "#b07aa1", "#3d9a94", "#9c755f", "#2f6fff", "#a8870f",
            "#e0569b", "#c2185b", "#7d8590", "#00a878",
        ),
        strict=True,
    )
)  # fmt: skip
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
        "domainColor": INK, "domainOpacity": 0.3, "tickColor": INK, "tickOpacity": 0.3, "gridColor": INK,
        "gridOpacity": 0.12, "labelLimit": 320,
    },
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "orient": "top", "title": None,},
    "text": {"color": INK},
    "rule": {"color": INK},
}  # fmt: skip


def finish(chart: alt.Chart, description: str, height: int) -> alt.Chart:
    """As wide as the page, and described for those who do not see it."""
    return chart.properties(width="container", height=height, description=description).configure(**CONFIG)


def picture(chart: alt.Chart, width: int = 720) -> bytes:
    """A chart as a PNG, `width` pixels wide before it is scaled, the same whatever fonts the machine has."""
    # matplotlib brings this font; where the machine has the family too, its own goes first: the same, 2.37, since 2016
    vl_convert.register_font_directory(str(Path(matplotlib.get_data_path(), "fonts", "ttf")))
    spec = chart.properties(width=width, background="white").to_dict()
    spec["config"]["font"] = "DejaVu Sans"
    return vl_convert.vegalite_to_png(spec, scale=1.5)


def class_shares(study: Study) -> alt.Chart:
    """Share of each class in the training part, and in the report's (Figure 1), on a logarithmic axis."""
    counts = study.classes["train"]
    parts = {"here": counts, "report": pd.Series(TABLE_1)}
    images = pd.concat(parts, names=["of", "label"]).rename("images")
    data = images.reset_index().assign(share=(images / images.groupby("of").transform("sum")).to_numpy())
    data = data[data["images"] > 0]  # nothing has no logarithm
    lowest = 10.0 ** math.floor(math.log10(data["share"].min()))
    chart = (
        alt.Chart(data)
        .mark_point(filled=True, size=90, opacity=0.9)
        .encode(
            y=alt.Y(
                "label", sort=list(CLASSES), title=None, scale=alt.Scale(domain=list(CLASSES)), axis=alt.Axis(grid=True)
            ),
            x=alt.X(
                "share",
                title="share of the training images, logarithmic",
                scale=alt.Scale(type="log", domain=[lowest, 1]),
                axis=alt.Axis(format="~%", values=[0.00001, 0.0001, 0.001, 0.01, 0.1, 1]),
            ),
            color=_source_colour(),
            shape=alt.Shape("of", scale=alt.Scale(domain=["here", "report"], range=["circle", "square"])),
            tooltip=["label", "of", "images", alt.Tooltip("share", format=".2%")],
        )
    )
    return finish(chart, "Share of each class in the training part, here and in the report.", 22 * len(CLASSES))


def _source_colour() -> alt.Color:
    return alt.Color(
        "of", scale=alt.Scale(domain=["here", "report"], range=[BLUE, ORANGE]), legend=alt.Legend(symbolOpacity=1)
    )


def progression(results: pd.DataFrame) -> alt.Chart:
    """Macro F1 of every row: the report's beside those measured here, with their intervals (Tables 6 and 8)."""
    columns = {
        "published_val_f1": ("report", ON[0]),
        "published_leaderboard": ("report", ON[1]),
        "val_f1": ("here", ON[0]),
        "test_f1": ("here", ON[1]),
        "test_f1_tta": ("here", ON[2]),
    }
    data = results.melt(["row", "title", "published_title"], list(columns), "column", "f1").dropna(subset="f1")
    data["of"], data["on"] = zip(*data["column"].map(columns), strict=True)
    data["what"] = data["title"].where(data["of"] == "here", data["published_title"])
    ends = results.set_index("row")
    for end in ("low", "high"):
        data[end] = [
            ends.at[row, f"{column}_{end}"] if f"{column}_{end}" in ends else None
            for row, column in zip(data["row"], data["column"], strict=True)
        ]
    base = alt.Chart(data.drop(columns=["column", "title", "published_title"])).encode(
        y=alt.Y("row", sort=results["row"].tolist(), title=None, axis=alt.Axis(grid=True)),
        yOffset=alt.YOffset("on", sort=list(ON)),  # so that two intervals of a row are seen beside each other
        color=_source_colour(),
        tooltip=["row", "what", "of", "on", *(alt.Tooltip(name, format=".3f") for name in ("f1", "low", "high"))],
    )
    spread = base.transform_filter("datum.low !== null").mark_rule(strokeWidth=2, opacity=0.5)
    points = base.mark_point(filled=True, size=70, opacity=0.9).encode(
        x=alt.X("f1", title="macro F1", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5)),
        shape=alt.Shape(
            "on",
            scale=alt.Scale(domain=ON, range=["circle", "square", "triangle-up"]),
            legend=alt.Legend(orient="bottom", columns=1, symbolFillColor=INK),
        ),
    )
    chart = spread.encode(x="low", x2="high") + points
    description = "Macro F1 of each row with 95% intervals, in the report and here; the table below has the numbers."
    return finish(chart, description, 36 * len(results))


def reliability(curves: pd.DataFrame) -> alt.Chart:
    """How often predictions of some probability are right: on the diagonal they mean what they say.

    Args:
        curves: probabilities (plain, with TTA), confidence, right, images.
    """
    scale = alt.Scale(domain=[0, 1])
    diagonal = alt.Chart(pd.DataFrame({"x": [0, 1]})).mark_line(strokeDash=[4, 4], color=GREY).encode(x="x", y="x")
    lines = (
        alt.Chart(curves)
        .mark_line(point=alt.OverlayMarkDef(size=40))
        .encode(
            x=alt.X("confidence", title="probability of the predicted class", scale=scale, axis=alt.Axis(tickCount=5)),
            y=alt.Y("right", title="share that is right", scale=scale, axis=alt.Axis(tickCount=5)),
            color=alt.Color("probabilities", scale=alt.Scale(domain=["plain", "with TTA"], range=[BLUE, ORANGE])),
            tooltip=["probabilities", *(alt.Tooltip(name, format=".3f") for name in ("confidence", "right")), "images"],
        )
    )
    return finish(diagonal + lines, "Reliability: the share of right predictions by their probability.", 400)


def robustness(study: Study) -> alt.Chart:
    """Macro F1 by severity, a line for each corruption; parameter `name`, the row."""
    scale = alt.Scale(range=list(COLOURS.values()))
    lines = (
        alt.Chart(study.robustness)
        .mark_line(point=alt.OverlayMarkDef(size=40))
        .encode(
            x=alt.X("severity:Q", axis=alt.Axis(values=sorted(study.robustness["severity"].unique()))),
            y=alt.Y("f1:Q", title="macro F1", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5)),
            color=alt.Color("corruption:N", sort=None, legend=alt.Legend(columns=4), scale=scale),
            tooltip=["corruption:N", "severity:Q", alt.Tooltip("f1:Q", format=".3f")],
        )
        .transform_filter("datum.row == name")
        .add_params(alt.param(name="name", value=study.robust[0]))
    )
    return finish(lines, "Macro F1 on corrupted test images, by the corruption's severity.", 360)


def external(scores: pd.DataFrame) -> alt.Chart:
    """Macro F1 of each row at home and on another laboratory's images; parameter `name`, the set."""
    wide = scores.rename(columns={"home_f1": "at home", "f1": "elsewhere"})
    long = wide.melt(["set", "row", "low", "high"], ["at home", "elsewhere"], "where", "macro F1")
    y = alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220))
    x = alt.X("macro F1:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))
    colour = alt.Color("where:N", sort=None, scale=alt.Scale(domain=["at home", "elsewhere"], range=[BLUE, ORANGE]))
    points = alt.Chart(long).mark_circle(size=70, opacity=1)
    points = points.encode(
        x=x, y=y, color=colour, tooltip=["row:N", "where:N", alt.Tooltip("macro F1:Q", format=".3f")]
    )
    bounds = alt.Chart(wide).mark_rule(color=ORANGE).encode(x=alt.X("low:Q", title="macro F1"), x2="high:Q", y=y)
    both = alt.layer(*(layer.transform_filter("datum.set == name") for layer in (bounds, points)))
    both = both.add_params(alt.param(name="name", value=scores["set"].iloc[0]))
    return finish(
        both, "Macro F1 of each row at home and on another laboratory's images.", 22 * scores["row"].nunique()
    )


def confusion(study: Study, first: str) -> alt.Chart:
    """Confusion matrices (Figures 4, 6, 7, 9, 11 and 13): recall per true class and images; parameter `name`."""
    found = {f"{name}, {part}": pairs for (name, part), pairs in study.confusions.items()}
    counts = pd.concat(found, names=["name"]).groupby(["name", "actual", "predicted"]).size()
    total = counts.groupby(["name", "actual"]).transform("sum")
    data = pd.DataFrame({"images": counts, "share": counts / total}).reset_index()
    chosen = alt.param(name="name", value=first)
    base = (
        alt.Chart(data)
        .transform_filter("datum.name == name")
        .encode(
            x=alt.X("predicted", sort=list(CLASSES), scale=alt.Scale(domain=list(CLASSES)), title="predicted"),
            y=alt.Y("actual", sort=list(CLASSES), scale=alt.Scale(domain=list(CLASSES)), title="actual"),
            tooltip=["actual", "predicted", "images", alt.Tooltip("share", format=".1%", title="of the class")],
        )
    )
    cells = base.mark_rect(color="#1d4ed8").encode(
        opacity=alt.Opacity("share", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, 0.6]))
    )
    percent = base.mark_text(fontSize=10, dy=-5, aria=False).encode(text="percent:N")
    percent = percent.transform_calculate(percent="round(100 * datum.share) + '%'")
    images = base.mark_text(fontSize=9, dy=6, aria=False, opacity=0.75).encode(text="images:Q")
    chart = (cells + percent + images).add_params(chosen)
    return finish(chart, "Confusion matrix: percent of each true class, and images.", 460)


def importance(ranked: pd.DataFrame) -> alt.Chart:
    """Macro F1 lost when a feature is shuffled: the twenty that matter most, with the spread."""
    data = ranked.head(20).assign(low=lambda d: d["f1_lost"] - d["sd"], high=lambda d: d["f1_lost"] + d["sd"])
    y = alt.Y("feature", sort=data["feature"].tolist(), title=None)
    tooltip = ["feature", alt.Tooltip("f1_lost", format=".4f"), alt.Tooltip("sd", format=".4f")]
    x = alt.X("f1_lost", title="macro F1 lost when shuffled")
    bars = alt.Chart(data).mark_bar(color=BLUE).encode(y=y, x=x, tooltip=tooltip)
    spread = alt.Chart(data).mark_rule().encode(y=y, x=alt.X("low", title=""), x2="high")
    return finish(bars + spread, "The twenty features whose shuffling costs most macro F1.", 20 * len(data))


def curves(study: Study, first: str, value: str, title: str) -> alt.Chart:
    """Loss or macro F1 by epoch (Figure 10), rises of the rate dashed and the best epoch in full; parameter `name`.

    The learning rate rises where it restarts, and where `train.retrain` begins with a new head.

    Args:
        study: the results.
        first: the row shown at first.
        value: loss or f1.
        title: of the vertical axis.
    """
    data = pd.concat(study.histories, names=["name"]).reset_index(level="name")
    rises = data.groupby("name")["lr/head"].diff() > 0
    best = data["epoch"] == data["name"].map({row: found["best_epoch"] for row, found in study.trained.items()})
    marked = [(rises, RISES), (best, BEST)]
    marked = pd.concat([data.loc[which, ["name", "epoch"]].assign(what=what) for which, what in marked])
    wide = data.rename(columns={f"train/{value}": "training", f"val/{value}": "validation"})
    long = wide.melt(["name", "epoch"], ["training", "validation"], "part", value).dropna()
    chosen = alt.param(name="name", value=first)
    colour = alt.Color("part", scale=alt.Scale(domain=["validation", "training"], range=[BLUE, GREY]))
    lines = (
        alt.Chart(long)
        .mark_line(point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False)),
            y=alt.Y(f"{value}:Q", title=title, scale=alt.Scale(zero=value == "f1")),
            color=colour,
            tooltip=["epoch", "part", alt.Tooltip(value, format=".3f")],
        )
    )
    rules = (
        alt.Chart(marked)
        .mark_rule(opacity=0.6)
        .encode(
            x="epoch:Q",
            strokeDash=alt.StrokeDash(
                "what", legend=None, scale=alt.Scale(domain=[RISES, BEST], range=[[4, 4], [1, 0]])
            ),
            tooltip=["what", "epoch"],
        )
    )
    both = alt.layer(*(layer.transform_filter("datum.name == name") for layer in (rules, lines)))
    return finish(both.add_params(chosen), f"{title} by epoch, training and validation.", 240)


def projection(points: Mapping[str, pd.DataFrame], first: str) -> alt.Chart:
    """t-SNE of the validation part (Figures 8 and 12), a picture at each point.

    Its parameters are `name`, the row, and `marked`, the class that stands out, "" for all.

    Args:
        points: by row of the ladder: id, label, x, y.
        first: the row shown at first.
    """
    data = pd.concat(points, names=["name"]).reset_index(level="name").round(2)
    pictures = alt.Data(values=[], name="pictures")  # id and image; the page's script fills them in
    chosen, marked = alt.param(name="name", value=first), alt.param(name="marked", value="")
    chart = (
        alt.Chart(data)
        .mark_circle(size=55, aria=False)  # hundreds of points, each read out with its picture's bytes, help nobody
        .transform_filter("datum.name == name")
        .transform_lookup(lookup="id", from_=alt.LookupData(data=pictures, key="id", fields=["image"]))
        .encode(
            x=alt.X("x:Q", axis=None),
            y=alt.Y("y:Q", axis=None),
            color=alt.Color(
                "label:N",
                sort=list(CLASSES),
                legend=alt.Legend(columns=5),
                scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
            ),
            opacity=alt.condition("!marked || datum.label == marked", alt.value(0.9), alt.value(0.08)),
            tooltip=["label:N", "id:N", "image:N"],
        )
        .add_params(chosen, marked)
    )
    return finish(chart, "Each validation image as a point; near points look alike to the network.", 460)
