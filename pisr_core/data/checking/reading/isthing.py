"""What `isthing` of a category shall be where it is missing or written in another way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any

WRITTEN = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "stuff": 0, "thing": 1}
"""Texts whose meaning is clear."""


def segments_isthing(annotations: Sequence[Any]) -> dict[Any, set[int]]:
    """What the segments of each category id say; some exporters write `isthing` there."""
    said: dict[Any, set[int]] = defaultdict(set)
    for annotation in annotations:
        infos = annotation.get("segments_info") if isinstance(annotation, dict) else None
        for info in infos if isinstance(infos, list) else ():
            value = _meaning(info.get("isthing")) if isinstance(info, dict) else None
            if value is not None and isinstance(info.get("category_id"), int):
                said[info["category_id"]].add(value)
    return said


def settled_isthing(entry: Any, of_segments: Mapping[Any, Set[int]]) -> int | None:
    """0 or 1 where a category's `isthing` is neither, but clear; else `None`.

    Args:
        entry: of `categories`.
        of_segments: see `segments_isthing`.
    """
    if not isinstance(entry, dict):
        return None
    value = entry.get("isthing")
    if isinstance(value, int):
        return None
    if value is not None:
        return _meaning(value)
    said = of_segments.get(entry.get("id"), set()) if isinstance(entry.get("id"), int) else set()
    return next(iter(said)) if len(said) == 1 else None


def _meaning(value: Any) -> int | None:
    if isinstance(value, str):
        return WRITTEN.get(value.strip().casefold())
    return int(value) if isinstance(value, int | float) and value in (0, 1) else None
