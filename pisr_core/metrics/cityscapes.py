"""Cityscapes' own scores: instance AP and iIoU, by the definitions and constants of `cityscapesscripts`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling import args as instance_settings
from cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling import args as pixel_settings
from cityscapesscripts.helpers.labels import id2label, name2label
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from pisr_core.data.pictures.images import FORMATS
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.errors import DataError
from pisr_core.metrics.detections import DetectionState, ImageDetections, InstanceResult, Outcome, mean_percent
from pisr_core.metrics.overlaps import Overlaps, SegmentMap, map_overlaps
from pisr_core.metrics.semantic import SemanticResult
from pisr_core.structures import Category, PanopticSegmentation, Segment, SegmentArrays, thing_ids

THRESHOLDS: Float[np.ndarray, " thresholds"] = instance_settings.overlaps
"""IoU that a match must exceed."""

MIN_PIXELS = int(instance_settings.minRegionSizes[0])
"""Smaller annotated instances do not count."""

GROUP_LIMIT = 1000
"""Values of `instanceIds.png` below it are labels, above it label · 1000 + number of the instance."""


class CityscapesAP:
    """AP of the scored thing segments, image by image.

    A prediction is right when its IoU with an annotated instance of its class is above the threshold. Otherwise it is
    ignored where a larger share than the threshold lies on void, groups (crowd) and small instances of its class.
    Panoptic segments do not overlap, so that no two predictions compete for an instance.

    Args:
        categories: the dataset's.
        gt_fine: folder of the split's `CITY/*_gtFine_instanceIds.png`, to score against them. They tell caravans and
            trailers, on which predictions count as mistakes, from void; the panoptic annotation does not.

    Attributes:
        state: outcomes at each of `THRESHOLDS`; states of several processes merge.
    """

    def __init__(self, categories: Sequence[Category], gt_fine: Path | None = None) -> None:
        self.categories = tuple(categories)
        self.gt_fine = gt_fine
        self.state = DetectionState(np.zeros((1, len(categories)), np.int64), len(THRESHOLDS))

    def update(self, image_id: int | str, overlaps: Overlaps) -> None:
        """Adds one image.

        Raises:
            DataError: its file in `gt_fine` is missing, broken or of another size.
        """
        if self.gt_fine is not None:
            instances, prediction = _read_instance_ids(self.gt_fine, image_id, self.categories), overlaps.prediction
            overlaps = map_overlaps(SegmentMap.of(instances), SegmentMap(prediction.ids, prediction.segments))
        classes = overlaps.predicted_classes
        things = np.isin(classes, thing_ids(self.categories))
        same_class = overlaps.true_classes[:, None] == classes
        shared = overlaps.shared * same_class
        small = overlaps.true_areas < MIN_PIXELS
        counted = ~overlaps.crowd & ~small
        # A small group is subtracted twice, as in cityscapesscripts.
        excused = overlaps.on_void + shared[overlaps.crowd].sum(axis=0) + shared[small].sum(axis=0)
        iou = shared / np.maximum(overlaps.true_areas[:, None] + overlaps.predicted_areas - shared, 1)
        over = iou > THRESHOLDS[:, None, None]
        outcomes = np.where(
            over[:, counted].any(axis=1),
            Outcome.TRUE_POSITIVE,
            np.where(
                over.any(axis=1) | (excused / overlaps.predicted_areas > THRESHOLDS[:, None]),
                Outcome.IGNORED,
                Outcome.FALSE_POSITIVE,
            ),
        ).astype(np.uint8)
        scores = overlaps.prediction.segments.scores
        image = ImageDetections(image_id, classes[things], scores[things], outcomes[:, things])
        self.state.images.append(image)
        truths = overlaps.true_classes[counted]
        np.add.at(self.state.truths[0], truths[truths >= 0], 1)

    def merge(self, state: DetectionState) -> None:
        """Adds the state of another one."""
        self.state.merge(state)

    def result(self) -> InstanceResult:
        """The scores of all images so far."""
        classes, scores, outcomes = self.state.joined()
        precision = np.full((len(self.categories), len(THRESHOLDS)), np.nan)
        for category in thing_ids(self.categories):
            chosen = classes == category
            truths = int(self.state.truths[0, category])
            if truths:
                precision[category] = [average_precision(scores[chosen], row[chosen], truths) for row in outcomes]
        at_50 = precision[:, np.isclose(THRESHOLDS, 0.5)]
        return InstanceResult(
            ap=mean_percent(precision),
            ap50=mean_percent(at_50),
            ap75=None,
            ap_small=None,
            ap_medium=None,
            ap_large=None,
            per_class=tuple(map(mean_percent, precision)),
            per_class_ap50=tuple(map(mean_percent, at_50)),
        )


def average_precision(scores: Float[np.ndarray, " d"], outcomes: UInt8[np.ndarray, " d"], truths: int) -> float:
    """Area under the precision-recall curve in steps centred on its points, 0–1.

    Written here because cityscapesscripts' own function fails where all detections of a class are ignored.

    Args:
        scores: of the detections.
        outcomes: an `Outcome` of each.
        truths: annotated instances, at least one.
    """
    counted = outcomes != Outcome.IGNORED
    if not counted.any():
        return 0.0
    order = np.argsort(-scores[counted], kind="stable")
    sorted_scores = scores[counted][order]
    hits = np.cumsum(outcomes[counted][order] == Outcome.TRUE_POSITIVE)
    # Detections of one score stand at one point of the curve.
    ends = np.append(np.flatnonzero(np.diff(sorted_scores)), len(sorted_scores) - 1)
    precision = np.concatenate(([1.0], hits[ends] / (ends + 1)))
    recall = np.concatenate(([0.0], hits[ends] / truths))
    padded = np.concatenate(([0.0], recall, recall[-1:]))
    return float(precision @ ((padded[2:] - padded[:-2]) / 2))


def _read_instance_ids(gt_fine: Path, image_id: int | str, categories: Sequence[Category]) -> PanopticSegmentation:
    """The official annotation; instances of labels that are not evaluated have the class -1."""
    path = gt_fine / str(image_id).split("_", maxsplit=1)[0] / f"{image_id}_gtFine_instanceIds.png"
    try:
        with Image.open(path, formats=FORMATS) as image:
            ids = np.array(image).astype(np.int32)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Give the split's folder below gtFine.") from None
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error}). Unpack gtFine again.") from error
    positions = {name2label[category.name].id: index for index, category in enumerate(categories)}
    segments = []
    for value in np.unique(ids).tolist():
        label = value if value < GROUP_LIMIT else value // GROUP_LIMIT
        if value < GROUP_LIMIT and id2label[label].ignoreInEval:
            ids[ids == value] = 0
        else:
            crowd = value < GROUP_LIMIT and id2label[label].hasInstances
            segments.append(Segment(value, positions.get(label, -1), 0, crowd))
    return PanopticSegmentation(ids, tuple(segments))


class InstanceIoU:
    """iIoU: IoU in which every instance's pixels weigh as if it had its class's average size.

    Attributes:
        categories: the dataset's.
        state: (classes, 2, 2) weighted right and missed pixels, as class and as group of classes; states of several
            processes add up.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self.state: Float[np.ndarray, "classes 2 2"] = np.zeros((len(self.categories), 2, 2))
        groups = [name2label[category.name].category for category in self.categories]
        things = {group for group, category in zip(groups, self.categories, strict=True) if category.isthing}
        self._groups: dict[str, Bool[np.ndarray, " classes"]] = {
            group: np.array([other == group for other in groups]) for group in sorted(things)
        }
        self._group_of = groups

    def update(self, truth: SegmentArrays, pixels: Int[np.ndarray, "rows columns"]) -> None:
        """Adds one image, from the same table as `MeanIoU`."""
        for position, crowd, row in zip(truth.classes.tolist(), truth.crowds.tolist(), pixels[1:], strict=True):
            category = self.categories[position]
            area = int(row.sum())
            if crowd or not category.isthing or area == 0:
                continue
            weight = pixel_settings.avgClassSize[category.name] / area
            in_group = row[:-1][self._groups[self._group_of[position]]].sum()
            right = np.array([row[position], in_group])
            self.state[position] += weight * np.stack([right, area - right], axis=1)

    def merge(self, state: Float[np.ndarray, "classes 2 2"]) -> None:
        """Adds the state of another one."""
        self.state += state

    def result(self, semantic: SemanticResult, confusion: Counter[tuple[int, int]]) -> SemanticResult:
        """Adds the scores of all images so far to those of `MeanIoU`, whose pixel counts give the false positives."""
        count = len(self.categories)
        predicted = np.array([[confusion[annotated, other] for other in range(count)] for annotated in range(count)])
        per_class = [
            _iou(self.state[index, 0], int(predicted[:, index].sum() - predicted[index, index]))
            if category.isthing
            else None
            for index, category in enumerate(self.categories)
        ]
        per_group = [
            _iou(self.state[members, 1].sum(axis=0), int(predicted[~members][:, members].sum()))
            for members in self._groups.values()
        ]
        return replace(
            semantic, iiou=_mean(per_class), iiou_categories=_mean(per_group), iiou_per_class=tuple(per_class)
        )


def _iou(weighted: Float[np.ndarray, " terms"], false_positives: int) -> float | None:
    """Of weighted right and missed pixels, and of other classes' plain ones."""
    right, missed = weighted.tolist()
    union = right + missed + false_positives
    return 100 * right / union if union else None


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None
