"""The maps of tiles, put together into one that is kept packed: of 20,000×20,000 pixels it would take 1.6 GB."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from pisr_core.structures import VOID_ID, PanopticSegmentation, Segment

SHARED = 0.5
"""Two things are one if they share more than this of what both together cover where their tiles overlap: so there is at
most one partner for each."""

LEVEL = 1
"""Of the compression: maps are mostly runs of equal ids."""


PIXELS_AT_ONCE = 1 << 22
"""Packed together, and unpacked, at most; or one row."""


@dataclass(frozen=True)
class PackedMap:
    """A panoptic map some rows of which are unpacked at a time.

    Attributes:
        size: (H, W) in pixels.
        segments: what each id stands for.
    """

    size: tuple[int, int]
    segments: tuple[Segment, ...]
    _parts: tuple[bytes, ...]
    """Its rows, packed, some at a time, with the ids of the tiles' segments."""
    _ids: Int[np.ndarray, " parts_of_segments"]
    """The map's id of each of these."""

    def rows(self) -> Iterator[Int[np.ndarray, "h W"]]:
        """Its ids, some rows at a time."""
        for part in self._parts:
            yield self._ids[np.frombuffer(zlib.decompress(part), np.int32)].reshape(-1, self.size[1])

    def at(self, size: tuple[int, int]) -> PanopticSegmentation:
        """The whole map at a smaller size, each pixel that of its nearest."""
        lines, columns = (np.arange(new) * old // new for new, old in zip(size, self.size, strict=True))
        smaller = np.empty(size, np.int32)
        top = 0
        for ids in self.rows():
            here = np.flatnonzero((top <= lines) & (lines < top + len(ids)))
            smaller[here] = ids[lines[here] - top][:, columns]
            top += len(ids)
        return PanopticSegmentation(smaller, self.segments)


class Stitcher:
    """Joins the maps of an image's tiles, row of tiles after row of tiles.

    Args:
        size: (H, W) of the image in pixels.
        isthing: of each class.
    """

    def __init__(self, size: tuple[int, int], isthing: Sequence[bool]) -> None:
        self.size, self._isthing = size, isthing
        self._parents = [VOID_ID]
        """Of each part of a segment, which is what a tile sees of it: another part of the same segment, or itself."""
        self._parts = [Segment(VOID_ID, -1, 0)]
        self._stuff: dict[int, int] = {}
        self._packed: list[bytes] = []
        self._top = 0
        self._row: Int[np.ndarray, "h W"] = np.empty((0, size[1]), np.int32)
        """What is not packed yet: the last row of tiles, which begins at `_top`."""

    def add_row(self, top: int, tiles: Iterable[tuple[int, PanopticSegmentation]]) -> None:
        """Joins a row of tiles with what is known.

        Args:
            top: of the row, pixels.
            tiles: from left to right, each with the column that it begins at.
        """
        packed = max(self._top - top, 0)
        row, top = self._joined(tiles)[packed:], top + packed
        above = self._row[top - self._top :]
        self._join(above, row[: len(above)])
        middle = len(above) // 2
        self._pack(self._row[: top - self._top + middle])
        self._top, self._row = top + middle, row[middle:]

    def packed(self) -> PackedMap:
        """The map, when all rows were added."""
        self._pack(self._row)
        roots = self._roots()
        segment_of, places = np.unique(roots, return_inverse=True)
        weights = np.array([part.area for part in self._parts], np.float64)
        sums = np.bincount(places, weights * [part.score for part in self._parts])
        scores = sums / np.bincount(places, weights).clip(min=1)
        packed = PackedMap(self.size, (), tuple(self._packed), places.astype(np.int32))
        own: Int[np.ndarray, " segments"] = np.zeros(len(segment_of), np.int64)
        for ids in packed.rows():
            own += np.bincount(ids.ravel(), minlength=len(own))
        segments = (
            Segment(place, self._parts[part].category, int(own[place]), score=float(scores[place]))
            for place, part in enumerate(segment_of.tolist())
            if part != VOID_ID and own[place]
        )
        return PackedMap(self.size, tuple(segments), packed._parts, packed._ids)

    def _joined(self, tiles: Iterable[tuple[int, PanopticSegmentation]]) -> Int[np.ndarray, "h W"]:
        """A row of tiles with the numbers of their parts."""
        row: Int[np.ndarray, "h W"] = np.empty((0, 0), np.int32)
        begin = end = 0  # of what the last tile has given
        for left, panoptic in tiles:
            numbers = self._numbered(panoptic)
            if not row.size:
                row = np.zeros((len(numbers), self.size[1]), np.int32)
            begin = max(begin, left)
            self._join(row[:, begin:end], numbers[:, begin - left : end - left])
            begin, end = (begin + end) // 2 if end > begin else begin, left + numbers.shape[1]
            row[:, begin:end] = numbers[:, begin - left :]
        return row

    def _numbered(self, panoptic: PanopticSegmentation) -> Int[np.ndarray, "h w"]:
        """A tile's map with numbers that no other tile has, but for stuff."""
        numbers: Int[np.ndarray, " ids"] = np.zeros(int(panoptic.ids.max(initial=0)) + 1, np.int32)
        for segment in panoptic.segments:
            number = len(self._parents)
            self._parts.append(segment)
            isthing = self._isthing[segment.category]
            self._parents.append(number if isthing else self._stuff.setdefault(segment.category, number))
            numbers[segment.id] = number
        return numbers[panoptic.ids]

    def _join(self, known: Int[np.ndarray, "h w"], new: Int[np.ndarray, "h w"]) -> None:
        """Makes one of the things that two tiles see in what they share."""
        roots = self._roots()
        first, second = roots[known].ravel(), roots[new].ravel()
        pairs, shared = np.unique(first.astype(np.int64) << 32 | second, return_counts=True)
        areas = [dict(zip(*np.unique(ids, return_counts=True), strict=True)) for ids in (first, second)]
        for pair, count in zip(pairs.tolist(), shared.tolist(), strict=True):
            one, other = pair >> 32, pair & 0xFFFFFFFF
            category = self._parts[one].category
            if VOID_ID in (one, other) or category != self._parts[other].category or not self._isthing[category]:
                continue
            if count > SHARED * (areas[0][one] + areas[1][other] - count):
                self._parents[max(one, other)] = min(one, other)

    def _roots(self) -> Int[np.ndarray, " parts"]:
        """The first part of each part's segment."""
        roots: Int[np.ndarray, " parts"] = np.array(self._parents, np.int64)
        while (roots[roots] != roots).any():
            roots = roots[roots]
        return roots

    def _pack(self, rows: Int[np.ndarray, "h W"]) -> None:
        count = max(1, PIXELS_AT_ONCE // self.size[1])
        for top in range(0, len(rows), count):
            self._packed.append(zlib.compress(rows[top : top + count].tobytes(), LEVEL))
