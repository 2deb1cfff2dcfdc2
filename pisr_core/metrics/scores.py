"""All scores of an evaluation, counted in one pass over the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, Integer

from pisr_core.data.categories import is_cityscapes
from pisr_core.metrics.confusion import Confusion
from pisr_core.metrics.details import Details
from pisr_core.metrics.overlaps import Overlaps, class_overlaps, segment_overlaps
from pisr_core.metrics.panoptic_quality import PanopticQuality, image_counts, image_pq, match_segments
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.semantic import MeanIoU
from pisr_core.metrics.worst import ImageScore, WorstImages
from pisr_core.structures import Category, PanopticSegmentation

if TYPE_CHECKING:
    from pisr_core.metrics.cityscapes import CityscapesAP, InstanceIoU
    from pisr_core.metrics.coco import CocoAP


class Scores:
    """Takes images as they come and keeps a few small arrays of each at most.

    AP and iIoU follow Cityscapes' definitions where the classes are those of Cityscapes, else AP is COCO's.

    Args:
        categories: the dataset's.
        instances: count AP too.
        official_instances: score AP against the dataset's own instances rather than the panoptic annotation's: COCO's
            instances JSON, or Cityscapes' folder of the split with `CITY/*_gtFine_instanceIds.png`.
        semantic: count mIoU (and Cityscapes' iIoU) too.
        details: tell what costs PQ, of each image, and likely wrong annotations too; see `DetailedResult`.

    Raises:
        DataError: the official instances cannot be read.
    """

    def __init__(
        self,
        categories: Sequence[Category],
        instances: bool = True,
        official_instances: Path | None = None,
        semantic: bool = True,
        details: bool = False,
    ) -> None:
        self.categories = tuple(categories)
        self.images = 0
        self.quality = PanopticQuality(categories)
        self.iou = MeanIoU(len(categories)) if semantic else None
        self.confusion = Confusion(len(categories))
        self.worst = WorstImages()
        self.details = Details(categories) if details else None
        self.iiou: InstanceIoU | None = None
        self.instance: CityscapesAP | CocoAP | None = None
        self._count_instances(instances, semantic, official_instances)

    def _count_instances(self, instances: bool, semantic: bool, official_instances: Path | None) -> None:
        """Adds what follows the dataset's own definition; PQ alone need not wait for the official tools' imports."""
        categories = self.categories
        if (instances or semantic) and is_cityscapes(categories):
            from pisr_core.metrics.cityscapes import CityscapesAP, InstanceIoU

            self.iiou = InstanceIoU(categories) if semantic else None
            self.instance = CityscapesAP(categories, official_instances) if instances else None
        elif instances:
            from pisr_core.metrics.coco import CocoAP, OfficialInstances, panoptic_instances

            official = OfficialInstances(official_instances, categories) if official_instances else None
            self.instance = CocoAP(categories, official or panoptic_instances)

    def update(
        self,
        image_id: int | str,
        file_name: str,
        prediction: PanopticSegmentation,
        truth: PanopticSegmentation,
        semantic: Integer[np.ndarray, "H W"] | None = None,
    ) -> None:
        """Adds one image.

        Args:
            image_id: the id in the dataset's files.
            file_name: the image's file name.
            prediction: the panoptic map with scored segments.
            truth: the annotation.
            semantic: the predicted semantic map; by default the panoptic map's classes.

        Raises:
            DataError: maps of different sizes, or segments that contradict their map.
        """
        pixels = None
        if semantic is not None and self.iou is not None:
            pixels = class_overlaps(truth, semantic, len(self.categories))
        self.add(image_id, file_name, segment_overlaps(truth, prediction), pixels)

    def add(
        self,
        image_id: int | str,
        file_name: str,
        overlaps: Overlaps,
        pixels: Int[np.ndarray, "rows columns"] | None = None,
    ) -> None:
        """Adds one image whose overlaps are counted already, and those with its semantic map if that is another."""
        num_classes = len(self.categories)
        matches = match_segments(overlaps)
        counts = image_counts(overlaps, matches, num_classes)
        matched_pixels = int(overlaps.shared[matches.iou > 0].sum())
        annotated_pixels = int(overlaps.true_areas[~overlaps.crowd].sum())
        mistaken_pixels = annotated_pixels - matched_pixels
        self.images += 1
        self.quality.merge(counts)
        self.confusion.update(overlaps, matches.ignored)
        score = ImageScore(image_id, file_name, image_pq(counts), mistaken_pixels, annotated_pixels)
        self.worst.update(score)
        if self.details is not None:
            self.details.update(score, overlaps, matches, counts)
        if self.iou is not None:
            pixels = overlaps.by_class(num_classes) if pixels is None else pixels
            self.iou.update(overlaps.true_classes, pixels)
            if self.iiou is not None:
                self.iiou.update(overlaps.truth, pixels)
        if self.instance is not None:
            self.instance.update(image_id, overlaps)

    def state(self) -> list[Any]:
        """What was counted so far, to send to another process."""
        return [self.images, *(part.state for part in self._parts())]

    def merge(self, state: Sequence[Any]) -> None:
        """Adds the state of another one with the same settings."""
        self.images += state[0]
        for part, of_part in zip(self._parts(), state[1:], strict=True):
            part.merge(of_part)

    def result(self, seconds: float) -> EvaluationResult:
        """The scores of all images so far, and how long it took."""
        semantic = self.iou.result() if self.iou is not None else None
        if self.iou is not None and semantic is not None and self.iiou is not None:
            semantic = self.iiou.result(semantic, self.iou.state)
        return EvaluationResult(
            self.categories,
            self.quality.result(),
            semantic,
            self.instance.result() if self.instance is not None else None,
            self.confusion.result(),
            self.worst.result(),
            self.images,
            seconds,
            None if self.details is None else self.details.result(self.quality),
        )

    def _parts(self) -> list[Any]:
        parts = (self.quality, self.iou, self.confusion, self.worst, self.details, self.iiou, self.instance)
        return [part for part in parts if part is not None]
