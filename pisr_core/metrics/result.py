"""The scores of one evaluation, as JSON, tables and reports show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pisr_core.metrics.confusion import SegmentConfusion
from pisr_core.metrics.details import DetailedResult
from pisr_core.metrics.detections import InstanceResult
from pisr_core.metrics.panoptic_quality import PanopticQualityResult
from pisr_core.metrics.semantic import SemanticResult
from pisr_core.metrics.worst import ImageScore
from pisr_core.structures import Category


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of predictions over a dataset.

    Attributes:
        categories: the dataset's; every `per_class` has their order.
        panoptic: PQ.
        semantic: mIoU, and on Cityscapes iIoU; `None` where it was not counted.
        instance: mask AP, `None` where it was not counted.
        confusion: which classes' segments are taken for which.
        worst: the images with the most mistaken pixels, the worst first.
        images: number of images.
        seconds: wall time.
        details: what costs PQ, each image, likely wrong annotations; `None` where they were not asked for.
    """

    categories: tuple[Category, ...]
    panoptic: PanopticQualityResult
    semantic: SemanticResult | None
    instance: InstanceResult | None
    confusion: SegmentConfusion
    worst: tuple[ImageScore, ...]
    images: int
    seconds: float
    details: DetailedResult | None = None

    def to_json(self) -> dict[str, Any]:
        """The scores as plain values; classes are keyed by their category id as text, no score is `None`.

        `semantic`, its iIoU, `instance` and `errors` are there only where they were counted.
        """
        panoptic = asdict(self.panoptic)
        panoptic["per_class"] = self._by_category(panoptic["per_class"])
        scores = {"panoptic": panoptic}
        if self.semantic is not None:
            semantic = self._by_class(asdict(self.semantic))
            known = self.semantic.iiou_per_class is not None
            scores["semantic"] = {k: v for k, v in semantic.items() if known or not k.startswith("iiou")}
        if self.instance is not None:
            scores["instance"] = self._by_class(asdict(self.instance))
        if self.details is not None:
            scores["errors"] = {cost.kind: _without(asdict(cost), "kind") for cost in self.details.costs}
        return {**scores, "images": self.images, "seconds": round(self.seconds, 3)}

    def details_to_json(self) -> dict[str, Any]:
        """The classes, each image's counts by category id, and the doubts; empty where they were not asked for."""
        if self.details is None:
            return {}
        categories = [{"id": c.id, "name": c.name, "isthing": int(c.isthing)} for c in self.categories]
        ids = [category.id for category in self.categories]
        images = [
            asdict(image.score)
            | {"classes": {str(ids[c]): row for c, row in zip(image.classes, image.counts.tolist(), strict=True)}}
            for image in self.details.images
        ]
        doubts = [
            asdict(doubt) | {"annotated": ids[doubt.annotated], "predicted": ids[doubt.predicted]}
            for doubt in self.details.doubts
        ]
        return {"categories": categories, "per_image": images, "annotation_doubts": doubts}

    def _by_class(self, scores: dict[str, Any]) -> dict[str, Any]:
        """The scores with their tuples, which have an item for each class, keyed by category."""
        return {k: self._by_category(v) if isinstance(v, tuple) else v for k, v in scores.items()}

    def _by_category(self, values: Sequence[Any]) -> dict[str, Any]:
        return {str(category.id): value for category, value in zip(self.categories, values, strict=True)}


def _without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}
