"""A panoptic map drawn over its image: class colours, a shade for each instance, borders and names."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Integer, UInt8

from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.labels import draw_names

OPACITY = 0.6
"""Of the colours over the image."""

BORDER_OPACITY = 0.6
"""Of the white borders over all."""

GOLDEN_RATIO = 0.618034

PIXELS_AT_ONCE = 1 << 20
"""Drawn at most: what numpy and OpenCV need on the way takes many bytes a pixel."""


def colorize(panoptic: PanopticSegmentation, categories: Sequence[Category]) -> UInt8[np.ndarray, "H W 3"]:
    """The map in colours (RGB): stuff in its class's, each thing in a shade of its class's, void black."""
    positions, colors = _positions(panoptic), palette(panoptic, categories)
    picture = np.empty((*positions.shape, 3), np.uint8)
    for rows in _rows_at_once(positions):
        picture[rows] = _painted(positions[rows], colors)
    return picture


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
    positions, colors = _positions(panoptic), palette(panoptic, categories, lasting_ids)
    picture = np.empty(image.shape, np.uint8)
    for rows in _rows_at_once(positions):
        part = picture[rows]
        cv2.addWeighted(image[rows], 1 - OPACITY, _painted(positions[rows], colors), OPACITY, 0, dst=part)
        cv2.copyTo(image[rows], (positions[rows] == 0).view(np.uint8), part)
        borders = _borders(positions, rows)
        part[borders] = (1 - BORDER_OPACITY) * part[borders] + BORDER_OPACITY * 255
    names = [categories[segment.category].name for segment in panoptic.segments]
    draw_names(picture, positions, names)
    return picture


def _rows_at_once(pixels: Integer[np.ndarray, "H W"]) -> Iterator[slice]:
    """Of a map, one slice after another."""
    height, width = pixels.shape
    count = max(1, PIXELS_AT_ONCE // width)
    return (slice(top, min(top + count, height)) for top in range(0, height, count))


def _positions(panoptic: PanopticSegmentation) -> Integer[np.ndarray, "H W"]:
    """For each pixel 1 + the position of its segment in the list, 0 for void; of two bytes where they suffice."""
    ids = [segment.id for segment in panoptic.segments]
    kind = np.uint16 if len(ids) <= np.iinfo(np.uint16).max else np.int32
    table = np.zeros(max([int(panoptic.ids.max(initial=0)), *ids]) + 1, dtype=kind)
    table[ids] = np.arange(1, len(ids) + 1)
    positions = np.empty(panoptic.ids.shape, kind)
    for rows in _rows_at_once(positions):
        positions[rows] = table[panoptic.ids[rows]]
    return positions


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
    positions: Integer[np.ndarray, "H W"], palette: UInt8[np.ndarray, "positions 3"]
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


def _borders(positions: Integer[np.ndarray, "H W"], rows: slice) -> Bool[np.ndarray, "h W"]:
    """Where lines are in some rows, one pixel wide on small pictures."""
    side = 2 + min(positions.shape) // 600
    top = max(0, rows.start - side)
    # OpenCV knows two bytes: neighbours whose positions agree in these, of more than 65,535, have no line between them.
    seen = positions[top : rows.stop + side].astype(np.uint16, copy=False)
    lines = cv2.morphologyEx(seen, cv2.MORPH_GRADIENT, np.ones((side, side), np.uint8)) > 0
    return lines[rows.start - top : rows.stop - top]
