"""Pixels that two maps of an image share, by segment: every score is counted from these small tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, Integer

from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID, PanopticSegmentation, Segment


@dataclass(frozen=True)
class Overlaps:
    """Shared pixels of the t annotated and the p predicted segments of an image.

    Attributes:
        truth: the annotated segments.
        prediction: the predicted segments.
        pixels: (t + 1, p + 1) shared pixels; row 0 and column 0 stand for void, the others for the segments in
            their order.
    """

    truth: tuple[Segment, ...]
    prediction: tuple[Segment, ...]
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

    @cached_property
    def true_classes(self) -> Int[np.ndarray, " t"]:
        """Class of each annotated segment."""
        return np.array([segment.category for segment in self.truth], np.int64)

    @cached_property
    def predicted_classes(self) -> Int[np.ndarray, " p"]:
        """Class of each predicted segment."""
        return np.array([segment.category for segment in self.prediction], np.int64)

    @cached_property
    def crowd(self) -> Bool[np.ndarray, " t"]:
        """Which annotated segments are crowds."""
        return np.array([segment.iscrowd for segment in self.truth], bool)

    def by_class(self, num_classes: int) -> Int[np.ndarray, "rows columns"]:
        """(t + 1, n + 1) pixels of each annotated segment by predicted class, the last column for none."""
        table = np.zeros((len(self.pixels), num_classes + 1), np.int64)
        np.add.at(table.T, [num_classes, *self.predicted_classes], self.pixels.T)
        return table


def segment_overlaps(truth: PanopticSegmentation, prediction: PanopticSegmentation) -> Overlaps:
    """The table of one image.

    Raises:
        DataError: maps of different sizes, or segments that are in a map but not in its list or (for predictions)
            the other way round.
    """
    if prediction.ids.shape != truth.ids.shape:
        raise DataError(f"predicted map of {_size(prediction)} for an annotation of {_size(truth)} pixels.")
    true_ids, predicted_ids, lengths = _runs(truth.ids, prediction.ids)
    rows = _positions(true_ids, truth.segments, "annotation")
    columns = _positions(predicted_ids, prediction.segments, "prediction")
    shape = (len(truth.segments) + 1, len(prediction.segments) + 1)
    overlaps = Overlaps(truth.segments, prediction.segments, _table(rows, columns, lengths, shape))
    for segment, area in zip(prediction.segments, overlaps.predicted_areas, strict=True):
        if area == 0:
            raise DataError(f"prediction: segment {segment.id} is listed but has no pixel in the map.")
    return overlaps


def class_overlaps(
    truth: PanopticSegmentation, semantic: Integer[np.ndarray, "H W"], num_classes: int
) -> Int[np.ndarray, "rows columns"]:
    """(t + 1, n + 1) pixels of each annotated segment by class of a semantic map.

    Row 0 stands for void; the last column for pixels whose value, such as `ignore_index`, is no class.
    """
    true_ids, classes, lengths = _runs(truth.ids, semantic)
    rows = _positions(true_ids, truth.segments, "annotation")
    columns = np.minimum(classes, num_classes).astype(np.int64)
    return _table(rows, columns, lengths, (len(truth.segments) + 1, num_classes + 1))


def _runs(
    first: Int[np.ndarray, "H W"], second: Integer[np.ndarray, "H W"]
) -> tuple[Int[np.ndarray, " runs"], Integer[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Both maps' values, and the pixels, of each run of neighbours in which neither map changes.

    Neighbours mostly agree: what follows then works on runs, which are many times fewer than pixels.
    """
    first_row, second_row = first.ravel(), second.ravel()
    changes = first_row[1:] != first_row[:-1]
    changes |= second_row[1:] != second_row[:-1]
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    return first_row[starts], second_row[starts], np.diff(starts, append=first.size)


def _positions(ids: Int[np.ndarray, " runs"], segments: tuple[Segment, ...], name: str) -> Int[np.ndarray, " runs"]:
    """0 for void, 1 + position in the list for a segment."""
    known = np.array([VOID_ID, *(segment.id for segment in segments)], ids.dtype)
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


def _size(segmentation: PanopticSegmentation) -> str:
    height, width = segmentation.ids.shape
    return f"{height}×{width}"
