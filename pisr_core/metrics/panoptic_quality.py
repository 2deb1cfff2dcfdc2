"""Panoptic quality (PQ) by the rules of COCO's panoptic task, streaming over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID, Category, PanopticSegmentation

COLUMNS = ("iou", "tp", "fp", "fn")
"""What is summed for each class: the IoU of the matches, and how many segments matched or failed to."""


@dataclass(frozen=True)
class GroupQuality:
    """Means over the classes of a group that occur, 0–100; `None` when none does.

    Attributes:
        pq: panoptic quality.
        sq: segmentation quality, the mean IoU of the matches.
        rq: recognition quality, the F1 of detection.
        n: number of classes that occur.
    """

    pq: float | None
    sq: float | None
    rq: float | None
    n: int


@dataclass(frozen=True)
class ClassQuality:
    """One class, 0–100. All zero when it occurs neither in the annotation nor in the predictions.

    Attributes:
        pq: panoptic quality, sq · rq.
        sq: segmentation quality.
        rq: recognition quality.
        tp: matched segments.
        fp: predicted segments without a match.
        fn: annotated segments without a match.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int

    @property
    def occurs(self) -> bool:
        """Whether the class counts in the means."""
        return self.tp + self.fp + self.fn > 0


@dataclass(frozen=True)
class PanopticQualityResult:
    """PQ of a whole dataset.

    Attributes:
        all: over all classes.
        things: over thing classes.
        stuff: over stuff classes.
        per_class: one for each category, in the dataset's order.
    """

    all: GroupQuality
    things: GroupQuality
    stuff: GroupQuality
    per_class: tuple[ClassQuality, ...]


class PanopticQuality:
    """Sums what PQ needs, image by image.

    A predicted and an annotated segment match when they share the class and their IoU is above 0.5, void
    pixels left out of the prediction. Crowd segments match nothing. A prediction of which more than half
    lies on void and on crowd of its class is no false positive (Kirillov et al., Panoptic Segmentation,
    CVPR 2019; numerically as panopticapi).

    Attributes:
        categories: the dataset's.
        state: (classes, 4) sums with the columns `COLUMNS`; states of several processes add up.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self.state: Float[np.ndarray, "classes 4"] = np.zeros((len(self.categories), len(COLUMNS)))

    def update(self, prediction: PanopticSegmentation, truth: PanopticSegmentation) -> None:
        """Adds one image.

        Raises:
            DataError: maps of different sizes, or segments that are in a map but not in its list or (for
                predictions) the other way round.
        """
        if prediction.ids.shape != truth.ids.shape:
            raise DataError(f"predicted map of {_size(prediction)} for an annotation of {_size(truth)} pixels.")
        truth_areas, predicted_areas, overlaps = _overlaps(truth, prediction)
        _check_listed(truth, truth_areas, "annotation")
        _check_listed(prediction, predicted_areas, "prediction")
        for segment in prediction.segments:
            if segment.id not in predicted_areas:
                raise DataError(f"prediction: segment {segment.id} is listed but has no pixel in the map.")

        iou, tp, fp, fn = range(len(COLUMNS))
        true_segments = {segment.id: segment for segment in truth.segments}
        predicted_segments = {segment.id: segment for segment in prediction.segments}
        matched: set[int] = set()
        found: set[int] = set()
        for (true_id, predicted_id), overlap in overlaps.items():
            true, predicted = true_segments.get(true_id), predicted_segments.get(predicted_id)
            if true is None or predicted is None or true.iscrowd or true.category != predicted.category:
                continue
            on_void = overlaps.get((VOID_ID, predicted_id), 0)
            ratio = overlap / (predicted_areas[predicted_id] + truth_areas[true_id] - overlap - on_void)
            if ratio > 0.5:
                self.state[true.category, [iou, tp]] += (ratio, 1)
                found.add(true_id)
                matched.add(predicted_id)

        for segment in truth.segments:
            if not segment.iscrowd and segment.id not in found:
                self.state[segment.category, fn] += 1
        # Of several crowd segments of a class the last one counts, as in panopticapi.
        crowds = {segment.category: segment.id for segment in truth.segments if segment.iscrowd}
        for segment in prediction.segments:
            if segment.id in matched:
                continue
            ignored = overlaps.get((VOID_ID, segment.id), 0)
            if segment.category in crowds:
                ignored += overlaps.get((crowds[segment.category], segment.id), 0)
            if ignored / predicted_areas[segment.id] <= 0.5:
                self.state[segment.category, fp] += 1

    def merge(self, other: PanopticQuality) -> None:
        """Adds what another one has seen."""
        self.state += other.state

    def result(self) -> PanopticQualityResult:
        """The scores of all images so far."""
        per_class = tuple(_class_quality(row) for row in self.state)
        flags = [category.isthing for category in self.categories]
        return PanopticQualityResult(
            all=_mean(per_class),
            things=_mean([quality for quality, thing in zip(per_class, flags, strict=True) if thing]),
            stuff=_mean([quality for quality, thing in zip(per_class, flags, strict=True) if not thing]),
            per_class=per_class,
        )


def _overlaps(
    truth: PanopticSegmentation, prediction: PanopticSegmentation
) -> tuple[dict[int, int], dict[int, int], dict[tuple[int, int], int]]:
    """Pixels of each annotated id, of each predicted id and of each pair of them."""
    pairs = (truth.ids.astype(np.int64) << 32 | prediction.ids).ravel()
    # Neighbours mostly agree: sorting runs of equal pairs instead of pixels is many times faster.
    starts = np.flatnonzero(np.concatenate(([True], pairs[1:] != pairs[:-1])))
    lengths = np.diff(starts, append=pairs.size)
    present, inverse = np.unique(pairs[starts], return_inverse=True)
    counts = np.bincount(inverse, weights=lengths).astype(np.int64)
    true_ids, predicted_ids = present >> 32, present & 0xFFFFFFFF
    keys = zip(true_ids.tolist(), predicted_ids.tolist(), strict=True)
    return (
        _sums(true_ids, counts),
        _sums(predicted_ids, counts),
        dict(zip(keys, counts.tolist(), strict=True)),
    )


def _sums(ids: Int[np.ndarray, " pairs"], counts: Int[np.ndarray, " pairs"]) -> dict[int, int]:
    present, inverse = np.unique(ids, return_inverse=True)
    totals = np.bincount(inverse, weights=counts).astype(np.int64)
    return dict(zip(present.tolist(), totals.tolist(), strict=True))


def _check_listed(segmentation: PanopticSegmentation, areas: dict[int, int], name: str) -> None:
    unlisted = areas.keys() - {segment.id for segment in segmentation.segments} - {VOID_ID}
    if unlisted:
        raise DataError(f"{name}: segment {min(unlisted)} is in the map but not in the list of segments.")


def _size(segmentation: PanopticSegmentation) -> str:
    height, width = segmentation.ids.shape
    return f"{height}×{width}"


def _class_quality(row: Float[np.ndarray, " columns"]) -> ClassQuality:
    iou, (tp, fp, fn) = float(row[0]), (int(count) for count in row[1:])
    if tp == 0:
        return ClassQuality(0.0, 0.0, 0.0, tp, fp, fn)
    sq, rq = iou / tp, tp / (tp + 0.5 * fp + 0.5 * fn)
    return ClassQuality(100 * sq * rq, 100 * sq, 100 * rq, tp, fp, fn)


def _mean(qualities: Sequence[ClassQuality]) -> GroupQuality:
    seen = [quality for quality in qualities if quality.occurs]
    if not seen:
        return GroupQuality(None, None, None, 0)
    pq, sq, rq = np.mean([(quality.pq, quality.sq, quality.rq) for quality in seen], axis=0).tolist()
    return GroupQuality(pq, sq, rq, len(seen))
