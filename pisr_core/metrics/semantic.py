"""Mean intersection over union (mIoU) of semantic maps, streaming over images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


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
        state: pixels by annotated and predicted class, whose number stands for pixels without a prediction; of many
            classes few pairs occur. States of several processes add up.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.state: Counter[tuple[int, int]] = Counter()

    def update(self, classes: Int[np.ndarray, " t"], pixels: Int[np.ndarray, "rows columns"]) -> None:
        """Adds one image.

        Args:
            classes: of the t annotated segments.
            pixels: (t + 1, classes + 1) their pixels by predicted class, as `class_overlaps` counts them.
        """
        segments, predicted = np.nonzero(pixels[1:])
        counts = pixels[1:][segments, predicted].tolist()
        for annotated, other, count in zip(classes[segments].tolist(), predicted.tolist(), counts, strict=True):
            self.state[annotated, other] += count

    def merge(self, state: Counter[tuple[int, int]]) -> None:
        """Adds the state of another one."""
        self.state.update(state)

    def result(self) -> SemanticResult:
        """The scores of all images so far."""
        right, union = [0] * self.num_classes, [0] * (self.num_classes + 1)
        for (annotated, predicted), count in self.state.items():
            union[annotated] += count
            if predicted == annotated:
                right[annotated] += count
            else:
                union[predicted] += count
        per_class = tuple(100 * r / u if u else None for r, u in zip(right, union[:-1], strict=True))
        scored = [iou for iou in per_class if iou is not None]
        pixels = self.state.total()
        return SemanticResult(
            miou=sum(scored) / len(scored) if scored else None,
            pixel_accuracy=100 * sum(right) / pixels if pixels else None,
            per_class=per_class,
        )
