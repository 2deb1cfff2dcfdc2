"""What the things look like: a few polygons each, listed from the back to the front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from jaxtyping import Float

Color = tuple[int, int, int]

BODY, TRIM, DARK, GLASS, SKIN, WOOD = range(6)
"""What a part's colour is taken from: two colours by chance of the thing's palettes, or a fixed one."""

FIXED_COLORS: dict[int, Color] = {
    DARK: (42, 40, 48),
    GLASS: (176, 212, 226),
    SKIN: (222, 172, 138),
    WOOD: (108, 76, 52),
}


@dataclass(frozen=True)
class Part:
    """One polygon of a shape.

    Attributes:
        points: corners (x, y) of a polygon that no row of pixels crosses more than twice, in heights of the
            thing; x from the middle to the front, y from the foot upwards.
        color: `BODY`, `TRIM` or a key of `FIXED_COLORS`.
        shade: factor on the colour.
    """

    points: Float[np.ndarray, "p 2"]
    color: int
    shade: float = 1.0


@dataclass(frozen=True)
class Shape:
    """The look shared by all things of one kind.

    Attributes:
        size: height of a thing at the lower edge, relative to the image's shorter side.
        width: relative to the height.
        parts: from the back to the front.
        bodies: the colours that `BODY` is drawn from.
        trims: the colours that `TRIM` is drawn from.
    """

    size: float
    width: float
    parts: tuple[Part, ...]
    bodies: tuple[Color, ...]
    trims: tuple[Color, ...]

    @cached_property
    def corners(self) -> Float[np.ndarray, "p 2"]:
        """The corners of all parts, one part after the other."""
        return np.concatenate([part.points for part in self.parts])

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each part's corners are in `corners`."""
        stops = accumulate(len(part.points) for part in self.parts)
        return tuple(slice(stop - len(part.points), stop) for part, stop in zip(self.parts, stops, strict=True))


def _polygon(*corners: tuple[float, float]) -> Float[np.ndarray, "p 2"]:
    return np.array(corners, dtype=np.float64)


def _box(left: float, bottom: float, right: float, top: float) -> Float[np.ndarray, "4 2"]:
    return _polygon((left, bottom), (right, bottom), (right, top), (left, top))


def _disc(x: float, y: float, rx: float, ry: float | None = None) -> Float[np.ndarray, "p 2"]:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + (rx if ry is None else ry) * np.sin(angles)], axis=1)


def _wedge(start: float, stop: float) -> Float[np.ndarray, "p 2"]:
    """A stripe of a parasol's roof between two positions along its rim, -1 to 1."""
    rim = np.linspace(start, stop, 5)
    roof = np.stack([0.5 * rim, 0.6 + 0.02 * np.cos(np.pi * rim)], axis=1)
    return np.concatenate([roof, np.array([[0.36 * stop, 0.86], [0.0, 1.0], [0.36 * start, 0.86]])])


_HULLED = Shape(
    size=0.2,
    width=1.7,
    parts=(
        Part(_polygon((-0.42, 0.5), (0.4, 0.5), (0.2, 1.0), (-0.32, 1.0)), TRIM),
        Part(_polygon((-0.32, 0.56), (-0.08, 0.56), (-0.08, 0.9), (-0.26, 0.9)), GLASS),
        Part(_polygon((0.02, 0.56), (0.27, 0.56), (0.15, 0.9), (0.02, 0.9)), GLASS),
        Part(
            _polygon((-0.8, 0.54), (0.3, 0.54), (0.85, 0.62), (0.8, 0.38), (0.66, 0.08), (-0.7, 0.08), (-0.79, 0.3)),
            BODY,
        ),
        Part(_polygon((-0.8, 0.46), (0.82, 0.46), (0.8, 0.37), (-0.79, 0.37)), TRIM, 0.9),
        Part(_disc(-0.42, 0.16, 0.16), DARK),
        Part(_disc(0.42, 0.16, 0.16), DARK),
        Part(_disc(-0.42, 0.16, 0.07), GLASS, 0.9),
        Part(_disc(0.42, 0.16, 0.07), GLASS, 0.9),
    ),
    bodies=((206, 52, 44), (38, 92, 176), (236, 232, 224), (234, 178, 44), (46, 134, 98), (60, 62, 76)),
    trims=((240, 238, 232), (190, 196, 204), (96, 98, 110), (236, 208, 150)),
)

_ROUND = Shape(
    size=0.17,
    width=1.0,
    parts=(
        Part(_disc(0.0, 0.5, 0.5), BODY),
        Part(_polygon((-0.48, 0.62), (0.48, 0.62), (0.48, 0.36), (-0.48, 0.36)), TRIM),
        Part(_disc(0.0, 0.16, 0.3, 0.13), BODY, 0.75),
        Part(_disc(-0.18, 0.78, 0.11, 0.08), TRIM, 1.15),
    ),
    bodies=((226, 60, 48), (242, 140, 28), (246, 206, 58), (214, 66, 148)),
    trims=((244, 242, 236), (246, 226, 176), (60, 60, 86)),
)

_FOUR_LEGGED = Shape(
    size=0.17,
    width=1.3,
    parts=(
        Part(_box(-0.36, 0.0, -0.24, 0.4), TRIM, 0.7),
        Part(_box(0.14, 0.0, 0.26, 0.4), TRIM, 0.7),
        Part(_box(-0.48, 0.0, -0.36, 0.45), TRIM),
        Part(_box(0.28, 0.0, 0.4, 0.45), TRIM),
        Part(_polygon((-0.48, 0.62), (-0.64, 0.82), (-0.56, 0.86), (-0.4, 0.72)), BODY, 0.85),
        Part(_disc(-0.06, 0.52, 0.48, 0.26), BODY),
        Part(_disc(0.42, 0.74, 0.2, 0.2), BODY),
        Part(_polygon((0.46, 0.86), (0.65, 0.72), (0.65, 0.62), (0.46, 0.58)), TRIM),
        Part(_polygon((0.24, 0.98), (0.38, 0.94), (0.34, 0.66), (0.24, 0.62)), TRIM, 0.85),
        Part(_disc(0.48, 0.79, 0.035), DARK),
    ),
    bodies=((244, 238, 224), (206, 160, 108), (148, 98, 60), (70, 62, 60), (176, 172, 170)),
    trims=((60, 52, 52), (124, 84, 56), (226, 214, 194)),
)

_PERSON = Shape(
    size=0.34,
    width=0.4,
    parts=(
        Part(_polygon((-0.12, 0.0), (-0.02, 0.0), (0.0, 0.48), (-0.13, 0.48)), TRIM, 0.8),
        Part(_polygon((0.03, 0.0), (0.13, 0.0), (0.13, 0.48), (0.0, 0.48)), TRIM),
        Part(_polygon((-0.2, 0.4), (-0.13, 0.4), (-0.1, 0.76), (-0.17, 0.76)), SKIN, 0.9),
        Part(_polygon((0.13, 0.4), (0.2, 0.4), (0.17, 0.76), (0.1, 0.76)), SKIN),
        Part(_polygon((-0.14, 0.42), (0.14, 0.42), (0.18, 0.74), (0.1, 0.8), (-0.1, 0.8), (-0.18, 0.74)), BODY),
        Part(_disc(0.0, 0.89, 0.1, 0.11), DARK, 1.3),
        Part(_disc(0.015, 0.875, 0.085, 0.09), SKIN),
    ),
    bodies=((216, 58, 62), (52, 102, 190), (244, 206, 72), (248, 248, 244), (58, 148, 120), (150, 80, 160)),
    trims=((44, 52, 84), (78, 72, 70), (140, 118, 90)),
)

_TREE = Shape(
    size=0.5,
    width=0.62,
    parts=(
        Part(_polygon((-0.06, 0.0), (0.06, 0.0), (0.04, 0.5), (-0.04, 0.5)), WOOD),
        Part(_disc(-0.15, 0.5, 0.16), BODY, 0.72),
        Part(_disc(0.15, 0.52, 0.16), BODY, 0.78),
        Part(_disc(0.0, 0.62, 0.24, 0.22), BODY, 0.9),
        Part(_disc(-0.08, 0.78, 0.18, 0.18), BODY),
        Part(_disc(0.1, 0.74, 0.15, 0.15), BODY, 0.95),
        Part(_disc(-0.03, 0.87, 0.13, 0.13), BODY, 1.12),
    ),
    bodies=((40, 104, 56), (62, 118, 50), (30, 84, 66), (196, 124, 44)),
    trims=((0, 0, 0),),
)

_PARASOL = Shape(
    size=0.32,
    width=1.0,
    parts=(
        Part(_box(-0.035, 0.0, 0.035, 0.7), WOOD, 1.5),
        *(Part(_wedge(i / 3 - 1, (i + 1) / 3 - 1), TRIM if i % 2 else BODY, 1.08 - 0.05 * i) for i in range(6)),
    ),
    bodies=((232, 74, 84), (44, 146, 180), (250, 178, 58), (120, 84, 170)),
    trims=((250, 246, 238), (252, 232, 168)),
)

SHAPES: dict[str, Shape] = {
    "hulled": _HULLED,
    "round": _ROUND,
    "four-legged": _FOUR_LEGGED,
    "person": _PERSON,
    "tree": _TREE,
    "parasol": _PARASOL,
}

TWINS: dict[str, tuple[str, str]] = {
    "hulled": ("boat", "car"),
    "round": ("buoy", "ball"),
    "four-legged": ("dog", "sheep"),
}
"""Shapes that stand for either of two classes. The other shapes are named as their class."""
