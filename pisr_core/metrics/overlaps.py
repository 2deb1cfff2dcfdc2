"""Pixels that two maps of an image share, by segment: every score is counted from these small tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8

from pisr_core.data.coco.files import rgb_to_id
from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID, PanopticSegmentation, SegmentArrays


@dataclass(frozen=True)
class SegmentMap:
    """A panoptic map as it is counted.

    Attributes:
        pixels: the segment of each pixel, as its id or as the colour that stands for it in a PNG: of colours few have
            to be turned into ids.
        segments: what is listed.
    """

    pixels: Int[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]
    segments: SegmentArrays

    @classmethod
    def of(cls, panoptic: PanopticSegmentation) -> SegmentMap:
        """A map of ids."""
        return cls(panoptic.ids, SegmentArrays.of(panoptic.segments))

    @cached_property
    def ids(self) -> Int[np.ndarray, "H W"]:
        """Segment ids of all pixels."""
        return self.pixels if self.pixels.ndim == 2 else rgb_to_id(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Overlaps:
    """Shared pixels of the t annotated and the p predicted segments of an image.

    Attributes:
        truth: the annotated segments.
        prediction: the predicted map.
        pixels: (t + 1, p + 1) shared pixels; row 0 and column 0 stand for void, the others for the segments in
            their order.
    """

    truth: SegmentArrays
    prediction: SegmentMap
    pixels: Int[np.ndarray, "rows columns"]

    @cached_property
    def shared(self) -> Int[np.ndarray, "t p"]:
        """Pixels of each annotated segment in each predicted one."""
        return self.pixels[1:, 1:]

    @cached_property
    def on_void(self) -> Int[np.ndarray, " p"]:
        """Pixels of each predicted segment where nothing is annotated."""
        return self.pixels[0, 1:]

    @cached_property
    def true_areas(self) -> Int[np.ndarray, " t"]:
        """Pixels of each annotated segment, 0 for one that is listed only."""
        return self.pixels[1:].sum(axis=1)

    @cached_property
    def predicted_areas(self) -> Int[np.ndarray, " p"]:
        """Pixels of each predicted segment."""
        return self.pixels[:, 1:].sum(axis=0)

    @property
    def true_classes(self) -> Int[np.ndarray, " t"]:
        """Class of each annotated segment."""
        return self.truth.classes

    @property
    def predicted_classes(self) -> Int[np.ndarray, " p"]:
        """Class of each predicted segment."""
        return self.prediction.segments.classes

    @property
    def crowd(self) -> Bool[np.ndarray, " t"]:
        """Which annotated segments are crowds."""
        return self.truth.crowds

    def by_class(self, num_classes: int) -> Int[np.ndarray, "rows columns"]:
        """(t + 1, n + 1) pixels of each annotated segment by predicted class, the last column for none."""
        table = np.zeros((len(self.pixels), num_classes + 1), np.int64)
        np.add.at(table.T, [num_classes, *self.predicted_classes], self.pixels.T)
        return table


def segment_overlaps(truth: PanopticSegmentation, prediction: PanopticSegmentation) -> Overlaps:
    """The table of one image, see `map_overlaps`."""
    return map_overlaps(SegmentMap.of(truth), SegmentMap.of(prediction))


def map_overlaps(truth: SegmentMap, prediction: SegmentMap) -> Overlaps:
    """The table of one image; both maps hold ids, or both colours.

    Raises:
        DataError: maps of different sizes, or segments that are in a map but not in its list or (for predictions)
            the other way round.
    """
    if prediction.size != truth.size:
        raise DataError(f"predicted map of {_size(prediction)} for an annotation of {_size(truth)} pixels.")
    true_ids, predicted_ids, lengths = _runs(truth.pixels, prediction.pixels)
    rows = _positions(true_ids, truth.segments.ids, "annotation")
    columns = _positions(predicted_ids, prediction.segments.ids, "prediction")
    shape = (len(truth.segments) + 1, len(prediction.segments) + 1)
    overlaps = Overlaps(truth.segments, prediction, _table(rows, columns, lengths, shape))
    empty = prediction.segments.ids[overlaps.predicted_areas == 0]
    if empty.size:
        raise DataError(f"prediction: segment {empty[0]} is listed but has no pixel in the map.")
    return overlaps


def class_overlaps(
    truth: PanopticSegmentation, semantic: Integer[np.ndarray, "H W"], num_classes: int
) -> Int[np.ndarray, "rows columns"]:
    """(t + 1, n + 1) pixels of each annotated segment by class of a semantic map.

    Row 0 stands for void; the last column for pixels whose value, such as `ignore_index`, is no class.
    """
    true_ids, classes, lengths = _runs(truth.ids, semantic)
    listed = SegmentArrays.of(truth.segments).ids
    columns = np.minimum(classes, num_classes).astype(np.int64)
    return _table(_positions(true_ids, listed, "annotation"), columns, lengths, (len(listed) + 1, num_classes + 1))


def _runs(
    first: Integer[np.ndarray, "H W *c"], second: Integer[np.ndarray, "H W *c"]
) -> tuple[Integer[np.ndarray, " runs"], Integer[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Both maps' values (of colours the ids), and the pixels, of each run of neighbours in which neither map changes.

    Neighbours mostly agree: what follows then works on runs, which are many times fewer than pixels.
    """
    channels = first[0, 0].size
    first_row, second_row = first.ravel(), second.ravel()
    changes = first_row[channels:] != first_row[:-channels]
    changes |= second_row[channels:] != second_row[:-channels]
    starts = np.concatenate(([0], np.flatnonzero(changes) // channels + 1))
    starts = starts[np.diff(starts, prepend=-1) > 0]  # several channels may change at once
    lengths = np.diff(starts, append=first_row.size // channels)
    return _values_at(starts, first), _values_at(starts, second), lengths


def _values_at(places: Int[np.ndarray, " runs"], pixels: Integer[np.ndarray, "H W *c"]) -> Integer[np.ndarray, " runs"]:
    """The values of some pixels of the flattened map, of colours the ids."""
    if pixels.ndim == 2:
        return pixels.ravel()[places]
    return rgb_to_id(pixels.reshape(-1, 3).take(places, axis=0)[None])[0]


def _positions(ids: Int[np.ndarray, " runs"], listed: Int[np.ndarray, " s"], name: str) -> Int[np.ndarray, " runs"]:
    """0 for void, 1 + position in the list for a segment."""
    known = np.concatenate(([VOID_ID], listed)).astype(ids.dtype)
    order = np.argsort(known)
    places = np.searchsorted(known[order], ids)
    positions = order[np.minimum(places, len(known) - 1)]
    strange = known[positions] != ids
    if strange.any():
        raise DataError(f"{name}: segment {ids[strange].min()} is in the map but not in the list of segments.")
    return positions


def _table(
    rows: Int[np.ndarray, " runs"],
    columns: Int[np.ndarray, " runs"],
    lengths: Int[np.ndarray, " runs"],
    shape: tuple[int, int],
) -> Int[np.ndarray, "rows columns"]:
    cells = np.bincount(rows * shape[1] + columns, weights=lengths, minlength=shape[0] * shape[1])
    return cells.astype(np.int64).reshape(shape)


def _size(segments: SegmentMap) -> str:
    height, width = segments.size
    return f"{height}×{width}"
