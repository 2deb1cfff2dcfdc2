"""The scores of one evaluation, as JSON and tables show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pisr_core.metrics.panoptic_quality import PanopticQualityResult
from pisr_core.metrics.semantic import SemanticResult
from pisr_core.structures import Category


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of predictions over a dataset.

    Attributes:
        categories: the dataset's; both `per_class` have their order.
        panoptic: PQ.
        semantic: mIoU.
        images: number of images.
        seconds: wall time.
    """

    categories: tuple[Category, ...]
    panoptic: PanopticQualityResult
    semantic: SemanticResult
    images: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; classes are keyed by their category id as text."""
        panoptic, semantic = asdict(self.panoptic), asdict(self.semantic)
        panoptic["per_class"] = self._by_category(panoptic["per_class"])
        semantic["per_class"] = self._by_category(semantic["per_class"])
        return {
            "panoptic": panoptic,
            "semantic": semantic,
            "images": self.images,
            "seconds": round(self.seconds, 3),
        }

    def _by_category(self, values: Sequence[Any]) -> dict[str, Any]:
        return {str(category.id): value for category, value in zip(self.categories, values, strict=True)}
