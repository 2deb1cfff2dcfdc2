"""Draws the things, then light and sensor."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int

from pisr_core.data.scenes.difficulty import Difficulty
from pisr_core.data.scenes.ground import Ground
from pisr_core.data.scenes.shapes import BODY, FIXED_COLORS, SHAPES, TRIM, Color, Part
from pisr_core.data.scenes.surfaces import Picture
from pisr_core.data.scenes.things import Thing

_FRACTION_BITS = 4
"""Corners are passed to OpenCV in sixteenths of a pixel."""


def outlines(thing: Thing) -> list[Int[np.ndarray, "p 2"]]:
    """The polygons of its parts, from the back to the front: corners (x, y) in sixteenths of a pixel.

    Picture and map are filled from the same polygons, so that they agree to the pixel.
    """
    shape = SHAPES[thing.shape]
    scale = np.array([thing.facing, -1.0]) * thing.height
    corners = shape.corners * scale + np.array([thing.x, thing.y])
    fixed = np.rint(corners * (1 << _FRACTION_BITS)).astype(np.int32)
    return [fixed[part] for part in shape.slices]


def draw_map(things: Sequence[Thing], size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """(H, W) int32: 0 on stuff, i + 1 where things[i] is seen. Later things cover earlier ones."""
    owners = np.zeros(size, np.int32)
    for i, thing in enumerate(things):
        for polygon in outlines(thing):
            cv2.fillConvexPoly(owners, polygon, i + 1, cv2.LINE_8, _FRACTION_BITS)
    return owners


def draw_things(picture: Picture, things: Sequence[Thing]) -> None:
    """Draws the things into the picture, the first one farthest."""
    for thing in things:
        for part, polygon in zip(SHAPES[thing.shape].parts, outlines(thing), strict=True):
            cv2.fillConvexPoly(picture, polygon, _color(thing, part), cv2.LINE_8, _FRACTION_BITS)


def draw_shadows(picture: Picture, things: Sequence[Thing], strength: float) -> None:
    """Darkens the ground under the things by a share of `strength`."""
    for thing in things:
        left, _, right, _ = thing.box
        half = (right - left) / 2
        top, bottom = int(thing.y - 0.16 * half), int(thing.y + 0.2 * half) + 1
        patch = picture[max(top, 0) : bottom, max(int(left), 0) : int(right) + 1]
        mask = np.zeros(patch.shape[:2], np.uint8)
        middle = (int(thing.x) - max(int(left), 0), int(thing.y) - max(top, 0))
        cv2.ellipse(mask, middle, (int(half), int(0.2 * half)), 0, 0, 360, 1, -1)
        cv2.copyTo(cv2.convertScaleAbs(patch, alpha=1 - strength), mask, patch)


def expose(rng: np.random.Generator, picture: Picture, ground: Ground, difficulty: Difficulty) -> Picture:
    """What a camera makes of it: haze, uneven light, colour cast, a slight blur and noise."""
    height, width = ground.stuff.shape
    rows = np.arange(height, dtype=np.float32)[:, None, None]
    haze = np.exp(np.abs(rows - np.float32(ground.horizon)) / np.float32(-0.2 * height))
    haze *= np.float32(rng.uniform(0, 0.4) * difficulty.light)
    shade = _shade(rng, ground, difficulty.light)
    cast = 1 + difficulty.light * rng.uniform(-0.1, 0.1, 3)

    seen = cv2.GaussianBlur(picture, (3, 3), 0.5).astype(np.float32)
    seen *= 1 - haze
    seen += 215 * haze
    seen *= cv2.merge([shade * np.float32(factor) for factor in cast])
    seen += np.float32(difficulty.noise) * rng.standard_normal(seen.shape, dtype=np.float32)
    return np.clip(seen, 0, 255, out=seen).astype(np.uint8)


def _color(thing: Thing, part: Part) -> Color:
    red, green, blue = {BODY: thing.body, TRIM: thing.trim, **FIXED_COLORS}[part.color]
    return int(red * part.shade), int(green * part.shade), int(blue * part.shade)


def _shade(rng: np.random.Generator, ground: Ground, light: float) -> Float[np.ndarray, "H W"]:
    """A factor on the brightness of each pixel: overall, a slope, and clouds' shade."""
    height, width = ground.stuff.shape
    gain = 1 + light * rng.uniform(-0.3, 0.2)
    down, across = light * rng.uniform(-0.2, 0.2, 2)
    plane = np.add.outer(gain + down * np.linspace(-1, 1, height), across * np.linspace(-1, 1, width))
    clouds = cv2.resize(rng.random((5, 3), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    strength = 0.4 * light * np.clip((np.arange(height) - ground.horizon) / (0.1 * height), 0, 1)
    patches = strength.astype(np.float32)[:, None] * np.clip(3 * (clouds - 0.6), 0, 1)
    return plane.astype(np.float32) * (1 - patches)
