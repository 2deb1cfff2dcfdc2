"""What a JSON in COCO's panoptic format says of maps and classes, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pisr_core.pixel_runs import find_runs
from pisr_core.structures import VOID_ID, Category, PanopticSegmentation


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
        {
            "id": segment.id,
            "category_id": categories[segment.category].id,
            "area": int(runs.areas[places[segment.id]]),
            "bbox": runs.boxes[places[segment.id]].tolist(),
            "iscrowd": int(segment.iscrowd),
            "isthing": int(categories[segment.category].isthing),
            "score": round(float(segment.score), 6),
        }
        for segment in panoptic.segments
        if segment.id in places
    ]


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
