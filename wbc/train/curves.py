"""The course of a training as a figure (report, Figure 10)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from wbc.train.engine import HISTORY


def curves(history: Sequence[Sequence[float]], best_epoch: int, freeze: int, title: str) -> Figure:
    """Loss, macro F1 and learning rates by epoch, one above the other.

    Args:
        history: one row of `HISTORY` per epoch.
        best_epoch: 1-based; its validation F1 is marked.
        freeze: epochs at the start in which the head alone learned; shaded.
        title: above all.
    """
    of = dict(zip(HISTORY, np.asarray(history, dtype=float).T, strict=True))
    figure = Figure(figsize=(7, 7), layout="constrained")
    loss, f1, rate = figure.subplots(3, sharex=True, height_ratios=(2, 2, 1))
    for axes, name in ((loss, "loss"), (f1, "f1")):
        axes.plot(of["epoch"], of[f"train/{name}"], label="training", color="tab:orange")
        axes.plot(of["epoch"], of[f"val/{name}"], label="validation", color="tab:blue")
    best = of["val/f1"][best_epoch - 1]
    f1.plot(best_epoch, best, "o", color="tab:blue", label=f"best: {best:.3f} in epoch {best_epoch}")
    for part, style in (("backbone", "-"), ("head", "--")):
        rate.step(of["epoch"], of[f"lr/{part}"], style, where="mid", label=part, color="tab:green")
    labels = ((loss, "loss"), (f1, "macro F1"), (rate, "learning rate"))
    for axes, label in labels:
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if freeze:
            axes.axvspan(0.5, freeze + 0.5, color="0.9", label="backbone frozen" if axes is rate else None)
        axes.legend(fontsize="small")
    rate.set_xlabel("epoch")
    loss.set_title(title)
    return figure
