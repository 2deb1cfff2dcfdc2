"""A few of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread_over(items: Sequence[T], most: int) -> list[T]:
    """All items, or `most` of them from the first to the last in equal steps."""
    if len(items) <= most:
        return list(items)
    return [items[round(step * (len(items) - 1) / (most - 1))] for step in range(most)]
