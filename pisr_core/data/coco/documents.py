"""What a JSON in COCO's panoptic format says of maps and classes, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from pisr_core.pixel_runs import find_runs
from pisr_core.structures import VOID_ID, Category, PanopticSegmentation, Segment


def segments_info(panoptic: PanopticSegmentation, categories: Sequence[Category], name: str) -> list[dict[str, Any]]:
    """The entries of a map's segments, areas and boxes counted from its pixels; segments without any are left out.

    Args:
        panoptic: the map.
        categories: what the segments' class positions mean.
        name: of the image, for messages.

    Raises:
        ValueError: the map holds ids that its segments do not explain.
    """
    runs = find_runs(panoptic.ids)
    places = {segment_id: place for place, segment_id in enumerate(runs.present.tolist())}
    unexplained = places.keys() - {segment.id for segment in panoptic.segments} - {VOID_ID}
    if unexplained:
        raise ValueError(f"{name}: ids {sorted(unexplained)} of the map belong to no segment")
    return [
        segment_entry(segment, categories, int(runs.areas[place]), runs.boxes[place].tolist())
        for segment in panoptic.segments
        if (place := places.get(segment.id)) is not None
    ]


def segment_entry(segment: Segment, categories: Sequence[Category], area: int, bbox: Sequence[int]) -> dict[str, Any]:
    """A segment's entry with what was counted of it: pixels, and (x, y, width, height) of what it covers."""
    category = categories[segment.category]
    return {
        "id": segment.id,
        "category_id": category.id,
        "area": area,
        "bbox": list(bbox),
        "iscrowd": int(segment.iscrowd),
        "isthing": int(category.isthing),
        "score": round(float(segment.score), 6),
    }


def boxes_counted(
    parts: Iterable[Int[np.ndarray, "h W"]], boxes: dict[int, list[int]]
) -> Iterator[Int[np.ndarray, "h W"]]:
    """The same rows of a map; meanwhile what each id covers is noted in `boxes` as (x, y, width, height)."""
    above = 0
    for ids in parts:
        runs = find_runs(ids)
        for segment_id, (x, y, width, height) in zip(runs.present.tolist(), runs.boxes.tolist(), strict=True):
            left, top, *sides = boxes.get(segment_id, [x, above + y, width, height])
            right, bottom = max(left + sides[0], x + width), above + y + height
            left, top = min(left, x), min(top, above + y)
            boxes[segment_id] = [left, top, right - left, bottom - top]
        above += len(ids)
        yield ids


def category_entries(categories: Sequence[Category]) -> list[dict[str, Any]]:
    """The entries of classes."""
    return [
        {
            "id": category.id,
            "name": category.name,
            "supercategory": category.supercategory,
            "isthing": int(category.isthing),
            "color": list(category.color),
        }
        for category in categories
    ]
