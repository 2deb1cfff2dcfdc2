"""Mask AP by COCO's definition, with pycocotools' parameters and precision, streaming over images."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from pisr_core.data.coco.masks import encoded_segmentation
from pisr_core.errors import DataError
from pisr_core.metrics.detections import DetectionState, ImageDetections, InstanceResult, Outcome, mean_percent
from pisr_core.metrics.matching import Instances, match_detections, outside
from pisr_core.metrics.overlaps import Overlaps
from pisr_core.structures import Category, thing_ids

MAX_DETECTIONS = 100
"""Only so many of the best detections of a class count in an image."""

InstanceSource = Callable[[int | str, Overlaps], tuple[Instances, Float[np.ndarray, "p t"]]]
"""Gives an image's annotated instances and the IoU of each predicted segment with them."""


def panoptic_instances(image_id: int | str, overlaps: Overlaps) -> tuple[Instances, Float[np.ndarray, "p t"]]:
    """The segments of the panoptic annotation; with a crowd, IoU is the share of the prediction that lies on it."""
    shared, areas = overlaps.shared.T, overlaps.predicted_areas[:, None]
    union = np.where(overlaps.crowd, areas, areas + overlaps.true_areas - shared)
    return Instances(overlaps.true_classes, overlaps.true_areas, overlaps.crowd), shared / union


class OfficialInstances:
    """The instances of COCO's own file (`annotations/instances_val2017.json`), which may overlap.

    Args:
        path: the JSON.
        categories: the dataset's.

    Raises:
        DataError: the file is missing or no instances JSON.
    """

    def __init__(self, path: Path, categories: Sequence[Category]) -> None:
        self.path = path
        self._positions = {category.id: index for index, category in enumerate(categories)}
        try:
            with redirect_stdout(io.StringIO()):
                self._coco = COCO(str(path))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file. Give the path of COCO's instances JSON.") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}). Give the path of a file.") from error
        except (ValueError, KeyError, TypeError, AssertionError, AttributeError) as error:
            raise DataError(f"{path}: is no COCO instances JSON ({error!r}). Download it again.") from error

    def __call__(self, image_id: int | str, overlaps: Overlaps) -> tuple[Instances, Float[np.ndarray, "p t"]]:
        """The image's instances, and the IoU of the predicted segments' masks with them."""
        if image_id not in self._coco.imgs:
            raise DataError(f"{self.path}: has no image {image_id!r}. Give the file of the same split.")
        entries = self._coco.imgToAnns[image_id]
        instances = Instances(
            np.array([self._positions.get(entry["category_id"], -1) for entry in entries], np.int64),
            np.array([entry["area"] for entry in entries], np.float64),
            np.array([entry.get("iscrowd", 0) for entry in entries], bool),
        )
        listed, ids = overlaps.prediction.segments.ids, overlaps.prediction.ids
        if not entries or not listed.size:
            return instances, np.zeros((len(listed), len(entries)))
        predicted = [rle.encode(np.asfortranarray(ids == i).view(np.uint8)) for i in listed]
        annotated = [self._encoded(image_id, entry) for entry in entries]
        return instances, rle.iou(predicted, annotated, instances.crowds.astype(int).tolist())

    def _encoded(self, image_id: int | str, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry's mask as run lengths."""
        image = self._coco.imgs[image_id]
        try:
            return encoded_segmentation(entry["segmentation"], (image["height"], image["width"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: an annotation of image {image_id!r} has a broken segmentation: {error}. Download it "
                "again."
            ) from error


class CocoAP:
    """AP of the scored thing segments, image by image.

    Args:
        categories: the dataset's.
        source: gives the annotated instances.

    Attributes:
        state: outcomes for each range of areas and IoU threshold of pycocotools; states of several processes merge.
    """

    def __init__(self, categories: Sequence[Category], source: InstanceSource = panoptic_instances) -> None:
        self.categories = tuple(categories)
        self.source = source
        parameters = Params(iouType="segm")
        self._ranges: Float[np.ndarray, "a 2"] = np.array(parameters.areaRng, np.float64)
        self._thresholds: Float[np.ndarray, " thresholds"] = parameters.iouThrs
        self._range_names = parameters.areaRngLbl
        self._things = thing_ids(self.categories)
        truths = np.zeros((len(self._ranges), len(self.categories)), np.int64)
        self.state = DetectionState(truths, len(self._ranges) * len(self._thresholds))

    def update(self, image_id: int | str, overlaps: Overlaps) -> None:
        """Adds one image.

        Raises:
            DataError: the source does not know the image.
        """
        instances, iou = self.source(image_id, overlaps)
        counted = ~(outside(instances.areas, self._ranges) | instances.crowds)
        for of_range, counts in zip(self.state.truths, counted, strict=True):
            true = instances.classes[counts]
            np.add.at(of_range, true[np.isin(true, self._things)], 1)
        scores = overlaps.prediction.segments.scores
        best = _best_of_each_class(overlaps.predicted_classes, scores, self._things)
        if not best.size:
            return
        classes = overlaps.predicted_classes[best]
        iou = np.where(classes[:, None] == instances.classes, iou[best], -1)
        outcomes = match_detections(iou, overlaps.predicted_areas[best], instances, self._thresholds, self._ranges)
        settings = outcomes.reshape(-1, len(best))
        self.state.images.append(ImageDetections(image_id, classes, scores[best], settings))

    def merge(self, state: DetectionState) -> None:
        """Adds the state of another one."""
        self.state.merge(state)

    def result(self) -> InstanceResult:
        """The scores of all images so far."""
        classes, scores, outcomes = self.state.joined()
        found = set(self._things).intersection(classes.tolist())
        things = sorted(found.union(np.flatnonzero(self.state.truths.any(axis=0)).tolist()))
        precision = self._precision(things, classes, scores, outcomes)
        at_50, at_75 = (precision[np.isclose(self._thresholds, threshold)] for threshold in (0.5, 0.75))
        ranges = {name: index for index, name in enumerate(self._range_names)}
        everywhere = ranges["all"]
        return InstanceResult(
            ap=mean_percent(precision[..., everywhere]),
            ap50=mean_percent(at_50[..., everywhere]),
            ap75=mean_percent(at_75[..., everywhere]),
            ap_small=mean_percent(precision[..., ranges["small"]]),
            ap_medium=mean_percent(precision[..., ranges["medium"]]),
            ap_large=mean_percent(precision[..., ranges["large"]]),
            per_class=self._by_class(things, precision[..., everywhere]),
            per_class_ap50=self._by_class(things, at_50[..., everywhere]),
        )

    def _precision(
        self,
        things: Sequence[int],
        classes: Int[np.ndarray, " d"],
        scores: Float[np.ndarray, " d"],
        outcomes: UInt8[np.ndarray, "s d"],
    ) -> Float[np.ndarray, "thresholds recalls things areas"]:
        """Precisions of classes by pycocotools, NaN where one has no instance; all images stand together as one."""
        by_area = outcomes.reshape(len(self._ranges), len(self._thresholds), -1)
        entries = []
        for category in things:
            chosen = classes == category
            for truths, of_area in zip(self.state.truths[:, category], by_area, strict=True):
                entries.append(
                    {
                        "dtScores": scores[chosen],
                        "dtMatches": of_area[:, chosen] == Outcome.TRUE_POSITIVE,
                        "dtIgnore": of_area[:, chosen] == Outcome.IGNORED,
                        "gtIgnore": np.zeros(truths),
                    }
                )
        evaluator = COCOeval()
        evaluator.params.imgIds, evaluator.params.catIds = [0], list(things)
        evaluator.params.maxDets = [len(scores) + 1]  # the limit for an image was kept when it was added
        evaluator.evalImgs, evaluator._paramsEval = entries, evaluator.params
        with redirect_stdout(io.StringIO()):
            evaluator.accumulate()
        precision = evaluator.eval["precision"][..., 0]
        return np.where(precision < 0, np.nan, precision)

    def _by_class(
        self, things: Sequence[int], precision: Float[np.ndarray, "thresholds recalls things"]
    ) -> tuple[float | None, ...]:
        known = {category: mean_percent(precision[..., index]) for index, category in enumerate(things)}
        return tuple(known.get(index) for index in range(len(self.categories)))


def _best_of_each_class(
    classes: Int[np.ndarray, " p"], scores: Float[np.ndarray, " p"], things: Sequence[int]
) -> Int[np.ndarray, " d"]:
    """Positions of the thing segments that count, the most confident first; of equal ones the earlier."""
    order = np.argsort(-scores, kind="stable")
    order = order[np.isin(classes[order], things)]
    if len(order) <= MAX_DETECTIONS:
        return order
    places = [np.flatnonzero(classes[order] == category)[:MAX_DETECTIONS] for category in np.unique(classes[order])]
    return order[np.sort(np.concatenate(places))]
