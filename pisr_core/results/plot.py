"""Curves of results: quality over cost, over K, over steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from pisr_core.weights.atomic import written_whole

COLORS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774", "#cb912f", "#d44c47")
"""One for each series, told apart by colour-blind readers with the help of the markers."""

MARKERS = "osD^vPX*"


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


def draw_plot(path: Path, series: Sequence[Series], title: str, x_label: str, y_label: str) -> None:
    """Draws one plot with a legend into a PNG, SVG or PDF file, as its suffix says."""
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
    axes.set_title(title, loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False)
    with written_whole(path) as part:
        figure.savefig(part, format=path.suffix[1:] or "png", dpi=150)
