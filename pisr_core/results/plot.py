"""Curves of results (quality over cost, over K, over steps) and matrices of counts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pisr_core.runtime.atomic import written_whole

COLORS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774", "#cb912f", "#d44c47")
"""One for each series, told apart by colour-blind readers with the help of the markers."""

MARKERS = "osD^vPX*"

TITLE_WIDTH = 66
"""Letters of a title's line, which has to end within the figure."""


@dataclass(frozen=True)
class Series:
    """One line or cloud of a plot.

    Attributes:
        name: for the legend.
        x: horizontal positions.
        y: vertical positions.
        spread: half the height of each point's error bar, empty for none.
        labels: a word beside each point, empty for none.
        joined: whether a line joins the points.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()
    labels: Sequence[str] = ()
    joined: bool = True


@dataclass(frozen=True)
class Interval:
    """One row of a forest plot.

    Attributes:
        name: of the row.
        value: the estimate.
        low: lower end of its interval, `None` for none.
        high: its upper end.
        points: what the estimate is the mean of.
        note: a word at the row's end.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    points: Sequence[float] = ()
    note: str = ""


@rc_context({"text.parse_math": False})
def draw_forest(path: Path, rows: Sequence[Interval], title: str, x_label: str) -> None:
    """Draws a forest plot, the first row at the top: estimates with their intervals beside a line at 0."""
    figure = Figure(figsize=(7.2, 1.4 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color="#787774", linewidth=1)
    for y, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=COLORS[0], linewidth=2)
        axes.plot([row.value], [y], MARKERS[1], color=COLORS[0], markersize=8)
        axes.plot(row.points, [y] * len(row.points), "|", color=COLORS[1], markersize=9)
        # Beyond the axes, so that no interval runs through it.
        axes.annotate(row.note, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), loc="left")
    axes.set_xlabel(x_label)
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right", "left"]].set_visible(False)
    with written_whole(path) as part:
        figure.savefig(part, format=path.suffix[1:] or "png", dpi=150)


@rc_context({"text.parse_math": False})  # names of runs may hold dollars
def draw_plot(
    path: Path, series: Sequence[Series], title: str, x_label: str, y_label: str, x_ticks: Sequence[str] = ()
) -> None:
    """Draws one plot with a legend into a PNG, SVG or PDF file, as its suffix says.

    `x_ticks` names the positions 0, 1, 2 …
    """
    # A figure of its own, without pyplot, needs no screen and leaves no global state.
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for index, line in enumerate(series):
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        axes.errorbar(
            line.x,
            line.y,
            yerr=line.spread or None,
            label=line.name,
            color=color,
            marker=marker,
            linestyle="-" if line.joined else "none",
            capsize=3,
        )
        for x, y, label in zip(line.x, line.y, line.labels, strict=False):
            axes.annotate(label, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8, color=color)
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if x_ticks:
        axes.set_xticks(range(len(x_ticks)), x_ticks)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False)
    with written_whole(path) as part:
        figure.savefig(part, format=path.suffix[1:] or "png", dpi=150)


WRITTEN_OUT = 24
"""The most rows of a matrix whose numbers are written into its cells."""


@rc_context({"text.parse_math": False})  # names of classes may hold dollars
def draw_confusion(counts: Int[np.ndarray, "n n"], names: Sequence[str]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of a confusion matrix: colours are shares of the row, numbers the counts.

    Args:
        counts: by annotated (rows) and predicted class.
        names: of the classes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(names) <= WRITTEN_OUT
    cell = 0.42 if few else 0.17  # inches
    figure = Figure(figsize=(2.2 + cell * len(names), 1.6 + cell * len(names)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=9 if few else 7)
    axes.set_yticks(range(len(names)), names, fontsize=9 if few else 7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("annotated")
    if few:
        _write_counts(axes, counts, shares)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _write_counts(axes: Axes, counts: Int[np.ndarray, "n n"], shares: Float[np.ndarray, "n n"]) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.5 else "#1f2328"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=color)
