"""COCO's segmentations of single instances: polygons and run lengths, checked before pycocotools' C code sees them.

It trusts what it gets: run lengths that cover too little leave pixels undefined, a text that is cut off or a polygon
far outside of the image makes it write where it must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_mask

from pisr_core.data.coco.entries import show

ZERO, DIGIT, SIGN, MORE = 48, 31, 16, 32
"""In the text of run lengths a character is 48 and five bits of a number; 32 says that more of it follow, and 16 in its
last character that it is negative."""


def encoded_segmentation(shape: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A segmentation as pycocotools' compressed run lengths.

    Args:
        shape: polygons (lists of x, y, x, y …), or `{"size": [H, W], "counts": numbers or text}`.
        size: (H, W) of the image in pixels.

    Raises:
        ValueError: it is none of these, or does not fit the image.
    """
    if isinstance(shape, list):
        for polygon in shape:
            _check_polygon(polygon, size)
        return coco_mask.merge(coco_mask.frPyObjects(shape, *size)) if shape else _encoded([size[0] * size[1]], size)
    if not isinstance(shape, dict):
        raise ValueError("neither polygons nor run lengths")
    if shape.get("size") != list(size):
        found = "×".join(map(show, shape["size"])) if isinstance(shape.get("size"), list) else "unknown"
        raise ValueError(f"its run lengths are for {found[:40]} pixels, but the image has {size[0]}×{size[1]}")
    counts = shape.get("counts")
    lengths = counts if isinstance(counts, list) else _lengths(counts)
    if not all(type(length) is int and 0 <= length < 2**31 for length in lengths) or sum(lengths) != size[0] * size[1]:
        raise ValueError("its run lengths do not add up to the image")
    return _encoded(lengths, size)


def decoded_segmentation(shape: Any, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The mask of a segmentation; see `encoded_segmentation`."""
    return coco_mask.decode(encoded_segmentation(shape, size)).astype(bool)


def _encoded(lengths: Sequence[int], size: tuple[int, int]) -> dict[str, Any]:
    return coco_mask.frPyObjects({"size": list(size), "counts": lengths}, *size)


def _check_polygon(polygon: Any, size: tuple[int, int]) -> None:
    """Points may lie beside the image, as far as its larger side is long."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon is a list of at least three x, y")
    reach = max(size)
    if not all(type(value) in (int, float) and -reach <= value <= 2 * reach for value in polygon):
        raise ValueError("a polygon's point is no number or far outside of the image")


def _lengths(text: Any) -> list[int]:
    """The run lengths in a text: differences to the length before the last, as numbers of five bits a character."""
    data = text.encode("ascii", "replace") if isinstance(text, str) else text if isinstance(text, bytes) else b""
    values: Int[np.ndarray, " n"] = np.frombuffer(data, np.uint8).astype(np.int64) - ZERO
    ends = np.flatnonzero(values & MORE == 0)
    if not ends.size or ends[-1] != len(values) - 1 or values.min() < 0 or values.max() > DIGIT + MORE:
        raise ValueError("its run lengths are no text that COCO's tools write")
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > 7:
        raise ValueError("its run lengths are too large")
    shifts = 5 * (np.arange(len(values)) - np.repeat(starts, sizes))
    numbers = np.add.reduceat((values & DIGIT) << shifts, starts)
    numbers -= (values[ends] & SIGN != 0).astype(np.int64) << 5 * sizes
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers.tolist()
