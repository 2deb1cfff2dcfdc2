"""Masks that overlap, made into a map in which each pixel belongs to one segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from pisr_core.data.prepare.raw import Label, LabelledMap


@dataclass(frozen=True)
class Piece:
    """A segment that may overlap others.

    Attributes:
        mask: (H, W), its pixels.
        label: what it is.
    """

    mask: Bool[np.ndarray, "H W"]
    label: Label


OVERLAPS: dict[str, Callable[[Sequence[Piece]], list[Piece]]] = {
    "smaller-on-top": lambda pieces: sorted(pieces, key=lambda piece: -int(piece.mask.sum())),
    "later-on-top": list,
}
"""The order in which masks are painted; the last one keeps all its pixels. COCO's order means nothing, and a small mask
on a large one, such as a tie on a person, would vanish below it: so `smaller-on-top` is the default. Of masks of equal
size the later is on top."""


def paint(size: tuple[int, int], layers: Sequence[Sequence[Piece]], overlap: str) -> LabelledMap:
    """Paints layer upon layer; within a layer the rule decides. Segments that are hidden wholly get no pixels.

    Args:
        size: (H, W).
        layers: from the bottom up.
        overlap: a name of `OVERLAPS`.
    """
    ids = np.zeros(size, np.int32)
    labels = {}
    pieces = [piece for layer in layers for piece in OVERLAPS[overlap](layer)]
    for segment_id, piece in enumerate(pieces, start=1):
        ids[piece.mask] = segment_id
        labels[segment_id] = piece.label
    return LabelledMap(ids, labels)
