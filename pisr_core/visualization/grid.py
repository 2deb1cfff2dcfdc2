"""Panels side by side in one PNG, each with its caption, its colour scale and what is drawn over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pisr_core.runtime.atomic import written_whole

PANEL_SIDE = 3.2
"""Long side of a panel, inches."""

TITLE_SPACE, CAPTION_SPACE, BAR_SPACE, GAP = 0.35, 0.25, 0.4, 0.08
"""Above all panels, above each, below each, and between them, inches."""

DPI = 130
HEAT_OPACITY = 0.7
"""Of a heatmap's colours over the grey image."""


@dataclass(frozen=True)
class Scale:
    """How values become colours.

    Attributes:
        low: value of the first colour, and of all below.
        high: value of the last one, and of all above.
        colormap: one of matplotlib's.
    """

    low: float = 0.0
    high: float = 1.0
    colormap: str = "inferno"


class Box(NamedTuple):
    """A rectangle, pixels."""

    x: int
    y: int
    width: int
    height: int


class Outline(NamedTuple):
    """Where a map is 0.5 or more, and how clearly its border is drawn, in [0, 1]."""

    map: Float[np.ndarray, "H W"]
    opacity: float = 1.0


class Arrow(NamedTuple):
    """From one point to another, (y, x) in pixels, and how clearly it is drawn, in [0, 1]."""

    start: tuple[float, float]
    end: tuple[float, float]
    opacity: float = 1.0


@dataclass(frozen=True)
class Panel:
    """One picture of a grid.

    Attributes:
        caption: above it.
        picture: RGB.
        scale: of its colours, drawn as a bar below it.
        outlines: white lines.
        points: (y, x), marked by rings.
        boxes: drawn dashed.
        arrows: bent, so that those to and fro do not hide each other.
    """

    caption: str
    picture: UInt8[np.ndarray, "H W 3"]
    scale: Scale | None = None
    outlines: Sequence[Outline] = ()
    points: Float[np.ndarray, "p 2"] | None = None
    boxes: Sequence[Box] = ()
    arrows: Sequence[Arrow] = ()


def blend(
    image: UInt8[np.ndarray, "H W 3"], heat: Float[np.ndarray, "H W"], scale: Scale
) -> UInt8[np.ndarray, "H W 3"]:
    """A heatmap's colours over the grey image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colors = 255 * matplotlib.colormaps[scale.colormap](Normalize(scale.low, scale.high)(heat))[..., :3]
    return np.rint((1 - HEAT_OPACITY) * grey + HEAT_OPACITY * colors).astype(np.uint8)


@matplotlib.rc_context({"text.parse_math": False})  # names of classes and files may hold dollars
def draw_grid(path: Path, panels: Sequence[Panel], title: str, columns: int = 0) -> None:
    """Draws panels, which belong to one image, row by row into a PNG.

    Args:
        path: the file.
        panels: one or more.
        title: above all.
        columns: panels a row; 0 for one row.
    """
    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    height, width = panels[0].picture.shape[:2]
    panel_height, panel_width = PANEL_SIDE * height / max(height, width), PANEL_SIDE * width / max(height, width)
    below = BAR_SPACE if any(panel.scale for panel in panels) else 0.0
    row_height, column_width = CAPTION_SPACE + panel_height + below, panel_width + GAP
    total_height, total_width = TITLE_SPACE + rows * row_height + GAP, columns * column_width + GAP
    # A figure of its own, without pyplot, needs no screen and leaves no global state.
    figure = Figure(figsize=(total_width, total_height))
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        left, bottom = GAP + column * column_width, total_height - TITLE_SPACE - (row + 1) * row_height + below
        place = (left / total_width, bottom / total_height, panel_width / total_width, panel_height / total_height)
        _draw_panel(figure.add_axes(place), panel)
    figure.suptitle(title, fontsize=10, y=1 - 0.3 * TITLE_SPACE / total_height, va="center")
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=DPI)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.imshow(panel.picture)
    axes.set_title(panel.caption, fontsize=8, pad=4)
    axes.set_axis_off()
    for outline in panel.outlines:
        axes.contour(outline.map, levels=[0.5], colors="white", linewidths=1, alpha=outline.opacity)
    if panel.points is not None:
        y, x = panel.points.T
        axes.scatter(x, y, s=45, facecolors="none", edgecolors="white", linewidths=1.2)
    for box in panel.boxes:
        # Pixels reach half a pixel to each side of their position.
        corner = (box.x - 0.5, box.y - 0.5)
        for color, style in (("black", "solid"), ("white", "dashed")):
            axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, ec=color, ls=style, lw=1.4))
    for arrow in panel.arrows:
        for color, width in (("black", 2.6), ("white", 1.2)):
            line = {"arrowstyle": "->", "color": color, "lw": width, "alpha": arrow.opacity}
            line |= {"connectionstyle": "arc3,rad=0.2", "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", arrow.end[::-1], arrow.start[::-1], arrowprops=line)
    if panel.scale is not None:
        bar = axes.inset_axes((0.1, -0.07, 0.8, 0.03))
        colors = ScalarMappable(Normalize(panel.scale.low, panel.scale.high), panel.scale.colormap)
        axes.figure.colorbar(colors, cax=bar, orientation="horizontal")
        bar.tick_params(labelsize=6, length=2)
