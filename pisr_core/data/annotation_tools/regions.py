"""The pixels that a tool's shape covers.

Polygons, boxes and ellipses of most tools have points in a plane whose origin is the outer corner of the upper left
pixel: there a pixel is covered when its centre is inside. Others name pixels, whose outline is covered too.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw

from pisr_core.data.coco.masks import decoded_segmentation
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.data.pictures.png_decoding import MAX_MEGAPIXELS

Size = tuple[int, int]
"""(H, W) in pixels."""

Point = Sequence[float | int]
"""(x, y) in pixels."""

ELLIPSE_POINTS = 128


@runtime_checkable
class Region(Protocol):
    """Some pixels of an image."""

    def mask(self, size: Size) -> Bool[np.ndarray, "H W"]:
        """Which pixels of an image of that size.

        Raises:
            ValueError: what the tool's file holds is broken or does not fit the image.
        """
        ...


@dataclass(frozen=True)
class CocoRegion:
    """A segmentation as COCO writes it.

    Attributes:
        segmentation: polygons, or run lengths.
    """

    segmentation: Any

    def mask(self, size: Size) -> Bool[np.ndarray, "H W"]:
        """Which pixels."""
        return decoded_segmentation(self.segmentation, size)


@dataclass(frozen=True)
class Outline:
    """A polygon whose points are pixels.

    Attributes:
        outer: x, y of its points.
        holes: those of what is cut out.
        drawn_by: a name of `FILLS`.
    """

    outer: Sequence[Point]
    holes: Sequence[Sequence[Point]]
    drawn_by: str

    def mask(self, size: Size) -> Bool[np.ndarray, "H W"]:
        """Which pixels."""
        canvas = np.zeros(size, np.int32)
        for ring, value in ((self.outer, 1), *((hole, 0) for hole in self.holes)):
            canvas = FILLS[self.drawn_by](canvas, _points(ring, size), value)
        return canvas > 0


def _fill_as_pillow(
    canvas: Int[np.ndarray, "H W"], points: Float[np.ndarray, "n 2"], value: int
) -> Int[np.ndarray, "H W"]:
    image = Image.fromarray(canvas)
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in points], fill=value)
    return np.array(image)


def _fill_as_opencv(
    canvas: Int[np.ndarray, "H W"], points: Float[np.ndarray, "n 2"], value: int
) -> Int[np.ndarray, "H W"]:
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], value)
    return canvas


FILLS: dict[str, Callable[[Int[np.ndarray, "H W"], Float[np.ndarray, "n 2"], int], Int[np.ndarray, "H W"]]] = {
    "Pillow": _fill_as_pillow,
    "OpenCV": _fill_as_opencv,
}
"""What sets the pixels of a polygon, its outline included, to a number: as cityscapesscripts and Supervisely draw."""


@dataclass(frozen=True)
class Patch:
    """A small picture of a mask, laid on the image.

    Attributes:
        text: an image file in base 64.
        left: column of its upper left pixel.
        top: row of it.
        deflated: whether the file is packed with zlib once more.
    """

    text: str
    left: int
    top: int
    deflated: bool = False

    def mask(self, size: Size) -> Bool[np.ndarray, "H W"]:
        """Which pixels: those that are not black, of a picture with transparency those that are opaque."""
        data = base64.b64decode(self.text, validate=True)
        if self.deflated:
            try:
                data = zlib.decompressobj().decompress(data, MAX_MEGAPIXELS * 10**6)
            except zlib.error as error:
                raise ValueError(f"its mask cannot be unpacked: {error}") from error
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                pixels = np.array(image)
        except BROKEN_IMAGE_ERRORS as error:
            raise ValueError(f"its mask is no picture: {error}") from error
        opaque = pixels if pixels.ndim == 2 else pixels[..., -1] if pixels.shape[2] in (2, 4) else pixels.any(axis=2)
        return placed(opaque.astype(bool), self.left, self.top, size)


@dataclass(frozen=True)
class BoxRuns:
    """Runs of pixels in a box, row by row, that do and don't belong, beginning with those that don't.

    Attributes:
        lengths: of the runs.
        left: column of the box.
        top: row of it.
        box: its (H, W).
    """

    lengths: tuple[int, ...]
    left: int
    top: int
    box: Size

    def mask(self, size: Size) -> Bool[np.ndarray, "H W"]:
        """Which pixels."""
        if min(self.lengths, default=0) < 0 or sum(self.lengths) != self.box[0] * self.box[1]:
            raise ValueError("its run lengths do not add up to its box")
        if not (0 <= self.box[0] <= size[0] and 0 <= self.box[1] <= size[1]):
            raise ValueError("its box is larger than the image")
        belongs = np.arange(len(self.lengths)) % 2 == 1
        return placed(np.repeat(belongs, self.lengths).reshape(self.box), self.left, self.top, size)


def placed(part: Bool[np.ndarray, "h w"], left: int, top: int, size: Size) -> Bool[np.ndarray, "H W"]:
    """A part of a mask at its place; what lies beside the image is left out."""
    mask = np.zeros(size, bool)
    rows, columns = (slice(max(0, start), max(0, start + n)) for start, n in zip((top, left), part.shape, strict=True))
    visible = mask[rows, columns]
    visible |= part[rows.start - top :, columns.start - left :][: visible.shape[0], : visible.shape[1]]
    return mask


def run_lengths(values: Bool[np.ndarray, " n"]) -> list[int]:
    """Lengths of the runs that are false, true, false …; the first is 0 where the values begin with true."""
    starts = np.flatnonzero(np.diff(values, prepend=False))
    return np.diff(starts, prepend=0, append=len(values)).tolist()


def polygon(points: Iterable[Point]) -> CocoRegion:
    """What is inside of points (x, y)."""
    return CocoRegion([[float(value) for x, y in points for value in (x, y)]])


def rectangle(corner: Point, opposite: Point) -> CocoRegion:
    """What is inside of two corners (x, y)."""
    (left, top), (right, bottom) = corner, opposite
    return polygon([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse(centre: Point, radii: Point, degrees: float | int = 0) -> CocoRegion:
    """What is inside of an ellipse, turned clockwise."""
    angles = np.arange(ELLIPSE_POINTS) * (2 * np.pi / ELLIPSE_POINTS)
    ring = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1) + np.asarray(centre)
    return polygon(turned(ring.tolist(), degrees, centre))


def turned(points: Iterable[Point], degrees: float | int, around: Point) -> list[tuple[float, float]]:
    """Points (x, y) turned clockwise around another."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    away = [(x - around[0], y - around[1]) for x, y in points]
    return [(float(around[0] + x * cos - y * sin), float(around[1] + x * sin + y * cos)) for x, y in away]


def _points(ring: Sequence[Point], size: Size) -> Float[np.ndarray, "n 2"]:
    points = np.array([[float(x), float(y)] for x, y in ring])
    if len(points) < 3:
        raise ValueError("a polygon has at least three points")
    if not (np.abs(points) <= 2 * max(size)).all():
        raise ValueError("a polygon's point is no number or far outside of the image")
    return points
