"""How a prediction shows itself in a notebook."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from html import escape

from PIL import Image

from pisr_core.api.segments import PredictedSegment
from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.overlay import palette

MOST_ROWS = 30
"""Of the table of segments; the largest are shown."""

LONGEST_SIDE = 1024
"""Of the picture, pixels."""

COLUMNS = ("class", "kind", "score", "pixels", "of the image", "x, y, width, height")

STYLE = """
.pisr { font: 14px/1.5 system-ui, sans-serif; }
.pisr img { min-width: min(100%, 20rem); max-width: 100%; height: auto; display: block; }
.pisr .segments { overflow-x: auto; }
.pisr .legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .5rem 0; }
.pisr i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .45em; }
.pisr table { border-collapse: collapse; margin: 0; }
.pisr th, .pisr td { text-align: right; padding: .1rem .7rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.pisr th:first-child, .pisr td:first-child { text-align: left; }
"""


def notebook_html(
    picture: Image.Image,
    panoptic: PanopticSegmentation,
    segments: Sequence[PredictedSegment],
    categories: Sequence[Category],
) -> str:
    """The picture, a legend of its classes and a table of its segments, the largest first.

    Args:
        picture: the map over its image.
        panoptic: the map.
        segments: its segments, in its order.
        categories: the classes.
    """
    image = base64.b64encode(_encoded(picture, "JPEG")).decode("ascii")
    counts = Counter(segment.category for segment in panoptic.segments)
    legend = "".join(
        f"<span>{_swatch(categories[index].color)}{escape(categories[index].name)}{_times(count)}</span>"
        for index, count in counts.most_common()
    )
    colors = palette(panoptic, categories)[1:].tolist()
    order = sorted(range(len(segments)), key=lambda place: -segments[place].area)
    rows = "".join(_row(segments[place], colors[place], panoptic.ids.size) for place in order[:MOST_ROWS])
    left_out = len(order) - MOST_ROWS
    more = f"<div>and {left_out} smaller segments</div>" if left_out > 0 else ""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    return (
        f'<div class="pisr"><style>{STYLE}</style><img src="data:image/jpeg;base64,{image}" alt="panoptic map">'
        f'<div class="legend">{legend}</div><div class="segments">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}</div>"
    )


def notebook_png(picture: Image.Image) -> bytes:
    """The picture, at most `LONGEST_SIDE` long."""
    return _encoded(picture, "PNG")


def _encoded(picture: Image.Image, kind: str) -> bytes:
    shown = picture.copy()
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, format=kind)
    return buffer.getvalue()


def _swatch(color: Sequence[int]) -> str:
    return f'<i style="background: rgb({", ".join(map(str, color))})"></i>'


def _times(count: int) -> str:
    return f" × {count}" if count > 1 else ""


def _row(segment: PredictedSegment, color: Sequence[int], pixels: int) -> str:
    kind = "thing" if segment.isthing else "stuff"
    cells = (
        kind,
        f"{segment.score:.2f}",
        str(segment.area),
        f"{100 * segment.area / pixels:.1f} %",
        ", ".join(map(str, segment.bbox)),
    )
    numbers = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><td>{_swatch(color)}{escape(segment.label)}</td>{numbers}</tr>"
