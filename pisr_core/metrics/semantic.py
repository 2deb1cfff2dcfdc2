"""Mean intersection over union (mIoU) of semantic maps, streaming over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array

from pisr_core.structures import Segment


@dataclass(frozen=True)
class SemanticResult:
    """Scores of 0–100; `None` where there is nothing to score.

    Attributes:
        miou: mean of the classes' IoU, over those that the annotation or the prediction has.
        pixel_accuracy: share of the labelled pixels whose class is right.
        per_class: IoU of each class.
        iiou: Cityscapes' mean iIoU of its thing classes.
        iiou_categories: the same of its groups of thing classes, human and vehicle.
        iiou_per_class: iIoU of each class, `None` for stuff; `None` as a whole on other datasets.
    """

    miou: float | None
    pixel_accuracy: float | None
    per_class: tuple[float | None, ...]
    iiou: float | None = None
    iiou_categories: float | None = None
    iiou_per_class: tuple[float | None, ...] | None = None


class MeanIoU:
    """A confusion matrix over the pixels that have a label.

    Attributes:
        num_classes: number of classes.
        state: (classes, classes + 1) pixels by annotated and predicted class, the last column for pixels
            without a prediction; sparse, for of many classes few pairs occur. States of several processes add up.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.state = csr_array((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, truth: Sequence[Segment], pixels: Int[np.ndarray, "rows columns"]) -> None:
        """Adds one image.

        Args:
            truth: the t annotated segments.
            pixels: (t + 1, classes + 1) their pixels by predicted class, as `class_overlaps` counts them.
        """
        segments, predicted = np.nonzero(pixels[1:])
        annotated = np.array([segment.category for segment in truth], np.int64)[segments]
        # Equal places add up.
        self.state += csr_array((pixels[1:][segments, predicted], (annotated, predicted)), self.state.shape)

    def merge(self, state: csr_array) -> None:
        """Adds the state of another one."""
        self.state += state

    def result(self) -> SemanticResult:
        """The scores of all images so far."""
        right = self.state.diagonal()
        union = self.state.sum(axis=1) + self.state[:, : self.num_classes].sum(axis=0) - right
        per_class = tuple(100 * int(r) / int(u) if u else None for r, u in zip(right, union, strict=True))
        scored = [iou for iou in per_class if iou is not None]
        pixels = int(self.state.sum())
        return SemanticResult(
            miou=sum(scored) / len(scored) if scored else None,
            pixel_accuracy=100 * int(right.sum()) / pixels if pixels else None,
            per_class=per_class,
        )
