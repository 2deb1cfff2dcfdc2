"""The learned weights ω of an image's panoptic categories as a chart (Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category
from pisr_core.visualization.presence import Presence
from pisr_core.visualization.stages import ImageMaps

COLORS = {"match": "#0b6e99", "false": "#d1713b", "empty": "#c8c6c2"}
"""Of what is there, of instance maps that show no annotated thing, and of what is not there."""


@rc_context({"text.parse_math": False})  # names of classes may hold dollars
def draw_weights(
    path: Path, maps: ImageMaps, categories: Sequence[Category], title: str, truth: Presence | None = None
) -> None:
    """Draws ω of each class as bars and of each instance by its rank, those that the image holds in blue.

    Without an annotation a class is there when the final panoptic map has it; an instance, when its map is not empty.

    Args:
        path: a PNG file.
        maps: of a model with weights.
        categories: the model's.
        title: above the chart.
        truth: what the annotation says instead; instances that match no annotated thing are orange.

    Raises:
        ValueError: the model has no weights.
    """
    if maps.weights is None:
        raise ValueError("the model's relation has no weights ω")
    weights, n = maps.weights.tolist(), len(categories)
    figure = Figure(figsize=(10, max(3.2, 0.8 + 0.19 * n)), layout="constrained")
    left, right = figure.subplots(1, 2)
    present = {segment.category for segment in maps.panoptic.segments}
    there = [index in present for index in range(n)] if truth is None else truth.classes
    left.barh(range(n), weights[:n], color=[COLORS["match" if present else "empty"] for present in there])
    left.set_yticks(range(n), [category.name for category in categories], fontsize=8)
    left.set_ylim(n - 0.5, -0.5)
    _finish(left, f"classes (blue: {'in the panoptic map' if truth is None else 'annotated'})")
    left.set_xlim(0, 1)
    left.set_xlabel("ω")
    filled = (maps.encoded.instances.flatten(1).amax(dim=1) > 0).tolist()
    kinds = ["match" if held else "empty" for held in filled] if truth is None else truth.instances
    right.scatter(range(1, len(kinds) + 1), weights[n:], s=14, color=[COLORS[kind] for kind in kinds])
    meaning = "blue: map not empty" if truth is None else "blue: annotated, orange: false, grey: empty map"
    _finish(right, f"instances by confidence ({meaning})")
    right.set_ylim(0, 1)
    right.set_xlabel("rank")
    right.set_ylabel("ω")
    figure.suptitle(title, fontsize=10)
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=110)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
