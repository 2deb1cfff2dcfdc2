"""Panoptic quality (PQ) by the rules of COCO's panoptic task, streaming over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

from pisr_core.metrics.category_maps import as_maps
from pisr_core.metrics.overlaps import Overlaps, segment_overlaps
from pisr_core.runtime.processes.gathering import from_all_processes
from pisr_core.structures import Category, PanopticSegmentation

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


@dataclass(frozen=True)
class Matches:
    """Which of an image's predicted segments are right.

    Attributes:
        iou: (t, p) IoU of each match of an annotated and a predicted segment, 0 where there is none.
        ignored: predicted segments that are no mistake because they lie mostly on void or on crowd.
    """

    iou: Float[np.ndarray, "t p"]
    ignored: Bool[np.ndarray, " p"]


def segment_iou(overlaps: Overlaps) -> Float[np.ndarray, "t p"]:
    """IoU of each annotated and each predicted segment, whatever their classes; void is left out of predictions."""
    shared = overlaps.shared
    union = overlaps.predicted_areas + overlaps.true_areas[:, None] - shared - overlaps.on_void
    return shared / np.maximum(union, 1)


def match_segments(overlaps: Overlaps) -> Matches:
    """Matches the segments of one image.

    A predicted and an annotated segment match when they share the class and their IoU is above 0.5, void
    pixels left out of the prediction. Crowd segments match nothing. A prediction of which more than half
    lies on void and on crowd of its class is no false positive (Kirillov et al., Panoptic Segmentation,
    CVPR 2019; numerically as panopticapi).
    """
    areas, shared, iou = overlaps.predicted_areas, overlaps.shared, segment_iou(overlaps)
    may_match = (overlaps.true_classes[:, None] == overlaps.predicted_classes) & ~overlaps.crowd[:, None]
    ignored_pixels = overlaps.on_void.copy()
    # Of several crowd segments of a class the last one counts, as in panopticapi.
    crowds = {int(overlaps.true_classes[index]): index for index in np.flatnonzero(overlaps.crowd).tolist()}
    for category, index in crowds.items():
        ignored_pixels += shared[index] * (overlaps.predicted_classes == category)
    return Matches(np.where(may_match & (iou > 0.5), iou, 0.0), ignored_pixels / areas > 0.5)


def image_counts(overlaps: Overlaps, matches: Matches, num_classes: int) -> Float[np.ndarray, "classes 4"]:
    """What one image adds to PQ, with the columns `COLUMNS`."""
    counts = np.zeros((num_classes, len(COLUMNS)))
    iou, tp, fp, fn = counts.T
    true, predicted = np.nonzero(matches.iou)
    matched_classes = overlaps.true_classes[true]
    np.add.at(iou, matched_classes, matches.iou[true, predicted])
    np.add.at(tp, matched_classes, 1)
    missed, superfluous = ~overlaps.crowd, ~matches.ignored
    missed[true], superfluous[predicted] = False, False
    np.add.at(fn, overlaps.true_classes[missed], 1)
    np.add.at(fp, overlaps.predicted_classes[superfluous], 1)
    return counts


def image_pq(counts: Float[np.ndarray, "classes 4"]) -> float | None:
    """PQ of one image, 0–100: the mean over the classes that it has; `None` without any."""
    iou, tp, fp, fn = counts[counts[:, 1:].any(axis=1)].T
    return 100 * float((iou / (tp + 0.5 * fp + 0.5 * fn)).mean()) if len(iou) else None


class PanopticQuality:
    """A metric as torchmetrics has them: `update` with each image, then `compute`; `reset` begins anew.

    Attributes:
        categories: the dataset's.
        state: (classes, 4) sums with the columns `COLUMNS`; states of several processes add up.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self.state: Float[np.ndarray, "classes 4"]
        self.reset()

    def update(
        self, prediction: PanopticSegmentation | npt.ArrayLike, truth: PanopticSegmentation | npt.ArrayLike
    ) -> None:
        """Adds an image, or a batch of them.

        Args:
            prediction: a panoptic map; or, as torchmetrics takes them, an (H, W, 2) or (b, H, W, 2) array or tensor of
                whole numbers, the category id and the instance id of each pixel. Instance ids of stuff do not matter,
                a category id below zero is void.
            truth: likewise, of the same size.

        Raises:
            DataError: different sizes, arrays of another kind, or a category id that no class has.
        """
        pairs = zip(as_maps(prediction, self.categories), as_maps(truth, self.categories), strict=True)
        for predicted, annotated in pairs:
            overlaps = segment_overlaps(annotated, predicted)
            self.merge(image_counts(overlaps, match_segments(overlaps), len(self.categories)))

    def compute(self) -> PanopticQualityResult:
        """The scores of the images of all processes in torch's process group, each of which must call it."""
        total = PanopticQuality(self.categories)
        for state in from_all_processes(self.state):
            total.merge(state)
        return total.result()

    def reset(self) -> None:
        """Forgets all images."""
        self.state = np.zeros((len(self.categories), len(COLUMNS)))

    def merge(self, state: Float[np.ndarray, "classes 4"]) -> None:
        """Adds the counts of an image, or the state of another one."""
        self.state += state

    def result(self) -> PanopticQualityResult:
        """The scores of all images so far, of this process."""
        per_class = tuple(_class_quality(row) for row in self.state)
        flags = [category.isthing for category in self.categories]
        return PanopticQualityResult(
            all=_mean(per_class),
            things=_mean([quality for quality, thing in zip(per_class, flags, strict=True) if thing]),
            stuff=_mean([quality for quality, thing in zip(per_class, flags, strict=True) if not thing]),
            per_class=per_class,
        )


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
