"""A panoptic map drawn over its image: class colours, a shade for each instance, borders and names."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.labels import draw_names

OPACITY = 0.6
"""Of the colours over the image."""

BORDER_OPACITY = 0.6
"""Of the white borders over all."""

GOLDEN_RATIO = 0.618034


def colorize(panoptic: PanopticSegmentation, categories: Sequence[Category]) -> UInt8[np.ndarray, "H W 3"]:
    """The map in colours (RGB): stuff in its class's, each thing in a shade of its class's, void black."""
    return _painted(_positions(panoptic), palette(panoptic, categories))


def overlay(
    image: UInt8[np.ndarray, "H W 3"],
    panoptic: PanopticSegmentation,
    categories: Sequence[Category],
    lasting_ids: bool = False,
) -> UInt8[np.ndarray, "H W 3"]:
    """The image under its coloured map, with borders and with class names where they fit.

    Args:
        image: RGB, of the map's size.
        panoptic: the map; void stays as in the image.
        categories: give names and colours.
        lasting_ids: give a thing the shade of its id, which it has in all frames of a film.
    """
    positions = _positions(panoptic)
    colors = _painted(positions, palette(panoptic, categories, lasting_ids))
    picture = cv2.addWeighted(image, 1 - OPACITY, colors, OPACITY, 0)
    cv2.copyTo(image, (positions == 0).view(np.uint8), picture)
    _draw_borders(picture, positions)
    names = [categories[segment.category].name for segment in panoptic.segments]
    draw_names(picture, positions, names)
    return picture


def _positions(panoptic: PanopticSegmentation) -> UInt16[np.ndarray, "H W"]:
    """For each pixel 1 + the position of its segment in the list, 0 for void."""
    ids = [segment.id for segment in panoptic.segments]
    table = np.zeros(max([int(panoptic.ids.max(initial=0)), *ids]) + 1, dtype=np.uint16)
    table[ids] = np.arange(1, len(ids) + 1)
    return table[panoptic.ids]


def palette(
    panoptic: PanopticSegmentation, categories: Sequence[Category], lasting_ids: bool = False
) -> UInt8[np.ndarray, "positions 3"]:
    """RGB of void and of the segments in their order; shades go by the order of a class's ids, or by lasting ids."""
    colors = {}
    instances: Counter[int] = Counter()
    for segment in sorted(panoptic.segments, key=lambda segment: segment.id):
        category = categories[segment.category]
        shade = segment.id if lasting_ids else instances[segment.category]
        colors[segment.id] = _shade(category.color, shade) if category.isthing else category.color
        instances[segment.category] += 1
    return np.array([(0, 0, 0), *(colors[segment.id] for segment in panoptic.segments)], dtype=np.uint8)


def _painted(
    positions: UInt16[np.ndarray, "H W"], palette: UInt8[np.ndarray, "positions 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The palette's colour of each pixel; looked up as one number a pixel, which is faster than three."""
    packed = np.pad(palette, ((0, 0), (0, 1))).view(np.uint32)[:, 0]
    return cv2.cvtColor(packed[positions].view(np.uint8).reshape(*positions.shape, 4), cv2.COLOR_RGBA2RGB)


def _shade(color: tuple[int, int, int], instance: int) -> tuple[int, int, int]:
    """The class's colour for its first instance, then others of nearby hue and clearly other lightness."""
    if instance == 0:
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*(part / 255 for part in color))
    turn = instance * GOLDEN_RATIO % 1
    shade = colorsys.hls_to_rgb(
        (hue + 0.14 * (turn - 0.5)) % 1,
        0.3 + 0.45 * ((lightness + turn) % 1),
        max(saturation, 0.35),
    )
    red, green, blue = (round(255 * part) for part in shade)
    return red, green, blue


def _draw_borders(picture: UInt8[np.ndarray, "H W 3"], positions: UInt16[np.ndarray, "H W"]) -> None:
    """White lines, one pixel wide on small pictures."""
    side = 2 + min(positions.shape) // 600
    window = np.ones((side, side), np.uint8)
    borders = cv2.morphologyEx(positions, cv2.MORPH_GRADIENT, window) > 0
    picture[borders] = (1 - BORDER_OPACITY) * picture[borders] + BORDER_OPACITY * 255
