"""Areas, boxes, centres and neighbours of all segments of a panoptic map in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from pisr_core.pixel_runs import find_runs


@dataclass(frozen=True)
class SegmentShapes:
    """The ids of a map, void too, and what was measured of each.

    Attributes:
        ids: (s,) segment ids, ascending as measured.
        areas: (s,) pixels.
        boxes: (s, 4) x, y, width and height in pixels, as COCO's `bbox`.
        centers: (s, 2) mean (y, x) of the pixels.
        touching: (t, 2) positions of segments that share a border of at least one pixel's side, each pair once.
        size: (H, W) of the map.
    """

    ids: Int[np.ndarray, " s"]
    areas: Int[np.ndarray, " s"]
    boxes: Int[np.ndarray, "s 4"]
    centers: Float[np.ndarray, "s 2"]
    touching: Int[np.ndarray, "t 2"]
    size: tuple[int, int]


def measure_segments(ids: Int[np.ndarray, "H W"]) -> SegmentShapes:
    """Measures every segment of a map.

    Works on the runs of equal ids: pycocotools would go over the map once per segment.
    """
    runs = find_runs(ids)
    owner, lengths = runs.owner, runs.lengths
    rows, lefts = runs.places
    middles = lefts + (lengths - 1) / 2
    sums = [np.bincount(owner, position * lengths) for position in (rows, middles)]
    return SegmentShapes(
        runs.present,
        runs.areas,
        runs.boxes,
        np.stack(sums, axis=1) / runs.areas[:, None],
        _touching(ids, runs.present, owner, lefts),
        runs.shape,
    )


def _touching(
    ids: Int[np.ndarray, "H W"],
    present: Int[np.ndarray, " s"],
    owner: Int[np.ndarray, " r"],
    lefts: Int[np.ndarray, " r"],
) -> Int[np.ndarray, "t 2"]:
    """Pairs that meet within a row, where one run follows another, or between two rows."""
    same_row = lefts[1:] != 0
    beside = np.stack([owner[:-1][same_row], owner[1:][same_row]], axis=1)
    differs = ids[1:] != ids[:-1]
    above = np.searchsorted(present, np.stack([ids[:-1][differs], ids[1:][differs]], axis=1))
    pairs = np.sort(np.concatenate([beside, above]), axis=1)
    codes = np.unique(pairs[:, 0] * len(present) + pairs[:, 1])
    return np.stack(np.divmod(codes, len(present)), axis=1)
