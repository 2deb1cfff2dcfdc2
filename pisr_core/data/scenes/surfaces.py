"""How the stuff is painted: one function per class, which paints a whole picture of it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from pisr_core.data.scenes.categories import POSITIONS
from pisr_core.data.scenes.ground import Ground
from pisr_core.data.scenes.shapes import Color

Picture = UInt8[np.ndarray, "H W 3"]
"""RGB."""

_KERB: Color = (168, 164, 158)
_LANE_MARK: Color = (222, 218, 204)
_CLOUD: Color = (238, 240, 244)
_DARK_WINDOW: Color = (74, 84, 104)
_LIT_WINDOW: Color = (240, 218, 150)
_TINTS: dict[str, tuple[Color, ...]] = {
    "sky": ((132, 184, 232), (170, 204, 230), (238, 196, 164), (178, 186, 200)),
    "building": ((176, 130, 108), (196, 178, 152), (138, 124, 132), (158, 96, 84)),
    "water": ((48, 112, 160), (36, 128, 150), (62, 104, 138)),
    "road": ((92, 92, 98), (76, 78, 86), (108, 104, 104)),
    "grass": ((108, 158, 72), (128, 162, 74), (92, 144, 82)),
    "plaza": ((216, 196, 156), (206, 190, 168), (226, 204, 150)),
}
_GRAIN = {"sky": 5.0, "building": 6.0, "water": 9.0, "road": 7.0, "grass": 14.0, "plaza": 8.0}
"""Strength of each surface's blotches, grey levels."""


def paint_stuff(rng: np.random.Generator, ground: Ground, clutter: float) -> Picture:
    """The scene without its things: (H, W, 3) uint8, RGB, each surface within its own pixels."""
    picture = np.empty((*ground.stuff.shape, 3), np.uint8)
    picture[:] = _KERB
    blotches = _blotches(rng, ground.stuff.shape)
    for name in ("sky", "building", *(region.name for region in ground.regions)):
        surface = _plain(rng, name, blotches)
        _DETAILS[name](rng, surface, ground, clutter)
        cv2.copyTo(surface, (ground.stuff == POSITIONS[name]).astype(np.uint8), picture)
    return picture


def _blotches(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Smooth noise, about -1 to 1, with grains of a twentieth of the picture and of two pixels."""
    height, width = size
    coarse = rng.standard_normal((20, 10), dtype=np.float32)
    fine = rng.standard_normal((height // 2, width // 4), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return 0.6 * smooth + 0.4 * cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)


def _plain(rng: np.random.Generator, name: str, blotches: Float[np.ndarray, "H W"]) -> Picture:
    tints = _TINTS[name]
    tint = np.array(tints[rng.integers(len(tints))]) + rng.uniform(-8, 8, 3)
    return cv2.merge([cv2.convertScaleAbs(blotches, alpha=_GRAIN[name], beta=channel) for channel in tint])


def _jitter(color: Color, amount: float) -> tuple[float, ...]:
    return tuple(min(max(channel + amount, 0.0), 255.0) for channel in color)


def _paint_sky(rng: np.random.Generator, surface: Picture, ground: Ground, clutter: float) -> None:
    """Clouds."""
    width = surface.shape[1]
    for _ in range(rng.poisson(3 * clutter)):
        x, y, size = rng.uniform(0, width), rng.uniform(0.1, 0.8) * ground.horizon, rng.uniform(0.04, 0.1)
        for dx in (-0.8, 0.0, 0.9):
            axes = (int(size * width), int(size * width * rng.uniform(0.2, 0.4)))
            cv2.ellipse(surface, (int(x + dx * axes[0]), int(y)), axes, 0, 0, 360, _CLOUD, -1)
    cv2.blur(surface, (5, 5), dst=surface)


def _paint_building(rng: np.random.Generator, surface: Picture, ground: Ground, clutter: float) -> None:
    """Houses with rows of windows."""
    unit = min(surface.shape[:2])
    foot = int(ground.horizon) + 2
    for block in ground.blocks:
        tints = _TINTS["building"]
        wall = surface[block.top : foot, block.left : block.right]
        wall[:] = _jitter(tints[rng.integers(len(tints))], rng.uniform(-20, 20))
        pitch = max(4, round(unit * rng.uniform(0.04, 0.06)))
        rows = (np.arange(wall.shape[0]) + pitch // 2) % pitch >= pitch / 2
        columns = (np.arange(wall.shape[1]) + pitch // 2) % pitch >= pitch / 2
        wall[rows[:, None] & columns] = _DARK_WINDOW if rng.random() < 0.7 else _LIT_WINDOW


def _paint_water(rng: np.random.Generator, surface: Picture, ground: Ground, clutter: float) -> None:
    """Waves."""
    _strokes(rng, surface, ground, count=40 * clutter, tilt=0.0, shift=26.0)


def _paint_road(rng: np.random.Generator, surface: Picture, ground: Ground, clutter: float) -> None:
    """Dashed lane marks along the middle."""
    start, stop = next(region.axis for region in ground.regions if region.name == "road")
    run = stop - start
    across = np.array([-run[1], run[0]]) / np.hypot(*run) * 0.01 * min(surface.shape[:2])
    ends = np.linspace(0, 1, 16) ** 1.3
    for tail, tip in zip(ends[0::2], ends[1::2], strict=True):
        a, b, half = start + tail * run, start + tip * run, across * (0.4 + tip)
        mark = np.rint([a - half, b - half, b + half, a + half]).astype(np.int32)
        cv2.fillConvexPoly(surface, mark, _LANE_MARK)
    _stones(rng, surface, ground, count=10 * clutter, shift=-16.0)


def _paint_grass(rng: np.random.Generator, surface: Picture, ground: Ground, clutter: float) -> None:
    """Tufts."""
    _strokes(rng, surface, ground, count=60 * clutter, tilt=1.0, shift=-24.0)


def _paint_plaza(rng: np.random.Generator, surface: Picture, ground: Ground, clutter: float) -> None:
    """Pebbles."""
    _stones(rng, surface, ground, count=40 * clutter, shift=-26.0)


def _spots(rng: np.random.Generator, ground: Ground, count: float) -> list[tuple[float, float, float]]:
    """Random (x, y, size) on the ground; sizes in pixels, larger when nearer."""
    height, width = ground.stuff.shape
    number = int(rng.poisson(count))
    depth = rng.random(number)
    xs = rng.random(number) * width
    ys = ground.horizon + depth * (height - ground.horizon)
    sizes = min(height, width) * (0.3 + 0.7 * depth) * rng.uniform(0.6, 1.4, number)
    return list(zip(xs.tolist(), ys.tolist(), sizes.tolist(), strict=True))


def _strokes(
    rng: np.random.Generator, surface: Picture, ground: Ground, count: float, tilt: float, shift: float
) -> None:
    """Short lines, lying (tilt 0) or leaning (tilt 1), lighter than the surface by `shift`."""
    color = _jitter(_mean(surface), shift)
    for x, y, size in _spots(rng, ground, count):
        length = size * (0.04 - 0.02 * tilt)
        tip = (int(x + length * (1 - 0.6 * tilt)), int(y - tilt * length))
        cv2.line(surface, (int(x), int(y)), tip, color, max(1, int(size / 90)))


def _stones(rng: np.random.Generator, surface: Picture, ground: Ground, count: float, shift: float) -> None:
    """Small flat discs, lighter than the surface by `shift`."""
    color = _jitter(_mean(surface), shift)
    for x, y, size in _spots(rng, ground, count):
        cv2.ellipse(surface, (int(x), int(y)), (int(size / 60), int(size / 110)), 0, 0, 360, color, -1)


def _mean(surface: Picture) -> Color:
    red, green, blue, _ = cv2.mean(surface)
    return int(red), int(green), int(blue)


_DETAILS: dict[str, Callable[[np.random.Generator, Picture, Ground, float], None]] = {
    "sky": _paint_sky,
    "building": _paint_building,
    "water": _paint_water,
    "road": _paint_road,
    "grass": _paint_grass,
    "plaza": _paint_plaza,
}
