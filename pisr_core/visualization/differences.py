"""Where two panoptic maps of an image differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from pisr_core.pixel_runs import find_runs
from pisr_core.structures import VOID_ID, Category, PanopticSegmentation
from pisr_core.visualization.grid import Box

SAME_INSTANCE = 0.5
"""Two instances of a class are the same when their IoU is above it, as PQ matches them."""

SMALLEST_SIDE = 0.015
"""Differences narrower than this share of the image's short side are borders, no regions."""


def differing_pixels(
    first: PanopticSegmentation, second: PanopticSegmentation, categories: Sequence[Category]
) -> Bool[np.ndarray, "H W"]:
    """Pixels whose class differs, or whose instances are not the same.

    Args:
        first: a map.
        second: another one of the same size and classes.
        categories: tell things from stuff.
    """
    pairs = first.ids.astype(np.int64) << 32 | second.ids
    runs = find_runs(pairs)
    ids = list(zip((runs.present >> 32).tolist(), (runs.present & 0xFFFFFFFF).tolist(), strict=True))
    areas = [
        dict(zip(r.present.tolist(), r.areas.tolist(), strict=True)) for r in map(find_runs, (first.ids, second.ids))
    ]
    classes = [{VOID_ID: None} | {segment.id: segment.category for segment in m.segments} for m in (first, second)]

    def differ(one: int, other: int, pixels: int) -> bool:
        category = classes[0][one]
        if category != classes[1][other]:
            return True
        if category is None or not categories[category].isthing:
            return False
        return pixels / (areas[0][one] + areas[1][other] - pixels) <= SAME_INSTANCE

    table = np.array([differ(*pair, pixels) for pair, pixels in zip(ids, runs.areas.tolist(), strict=True)])
    return runs.paint(table)


def largest_regions(mask: Bool[np.ndarray, "H W"], limit: int = 4) -> list[Box]:
    """Boxes around the largest connected regions of a mask, the largest first; mere borders are left out."""
    side = max(3, round(SMALLEST_SIDE * min(mask.shape)))
    labels, count = ndimage.label(ndimage.binary_opening(mask, np.ones((side, side))), np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    windows = ndimage.find_objects(labels)
    boxes = []
    for region in np.argsort(-areas, kind="stable")[:limit]:
        rows, columns = windows[region]
        boxes.append(Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
    return boxes
