"""Maps of ids as runs of equal pixels.

A map has a few runs per row. `np.unique` would sort every pixel instead, which takes many times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Runs:
    """The runs of equal ids in each row of a map, row after row.

    Attributes:
        present: the ids that occur, ascending.
        owner: position in `present` of each run's id.
        starts: index of each run's first pixel in the flattened map.
        lengths: pixels of each run.
        shape: (H, W) of the map.
    """

    present: Int[np.ndarray, " s"]
    owner: Int[np.ndarray, " r"]
    starts: Int[np.ndarray, " r"]
    lengths: Int[np.ndarray, " r"]
    shape: tuple[int, int]

    @cached_property
    def areas(self) -> Int[np.ndarray, " s"]:
        """Pixels of each id."""
        return np.bincount(self.owner, self.lengths, minlength=len(self.present)).astype(np.int64)

    @cached_property
    def places(self) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]]:
        """Row, and column of the first pixel, of each run."""
        rows, lefts = np.divmod(self.starts, self.shape[1])
        return rows, lefts

    @cached_property
    def boxes(self) -> Int[np.ndarray, "s 4"]:
        """(x, y, width, height) in pixels of what each id covers, as COCO's `bbox`."""
        order = np.argsort(self.owner, kind="stable")
        first = np.flatnonzero(np.diff(self.owner[order], prepend=-1))
        rows, lefts = (values[order] for values in self.places)
        left, top = np.minimum.reduceat(lefts, first), np.minimum.reduceat(rows, first)
        right = np.maximum.reduceat(lefts + self.lengths[order], first)
        bottom = np.maximum.reduceat(rows, first) + 1
        return np.stack([left, top, right - left, bottom - top], axis=1)

    def paint(self, values: np.ndarray) -> np.ndarray:
        """(H, W): each pixel has the value that stands at the place of its id in `present`."""
        return np.repeat(values[self.owner], self.lengths).reshape(self.shape)

    def positions(self) -> Int[np.ndarray, "H W"]:
        """Position in `present` of each pixel's id."""
        return self.paint(np.arange(len(self.present)))


def find_runs(ids: Int[np.ndarray, "H W"]) -> Runs:
    """The runs of a map, however large its ids are."""
    begins = np.ones(ids.shape, dtype=bool)
    np.not_equal(ids[:, 1:], ids[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    present, owner = np.unique(ids.ravel()[starts], return_inverse=True)
    return Runs(present, owner, starts, np.diff(starts, append=ids.size), (ids.shape[0], ids.shape[1]))
