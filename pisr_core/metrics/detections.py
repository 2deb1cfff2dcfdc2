"""What average precision needs of each detection: its score, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True)
class InstanceResult:
    """Mask AP, 0–100; `None` where there is nothing to score, or where the definition does not know it.

    Attributes:
        ap: mean over the thing classes that are annotated and over IoU thresholds of 0.5 to 0.95.
        ap50: at the threshold of 0.5.
        ap75: at 0.75; COCO's definition only.
        ap_small: of instances below 32² pixels; COCO's definition only.
        ap_medium: of 32² to 96² pixels; COCO's definition only.
        ap_large: above 96² pixels; COCO's definition only.
        per_class: AP of each class, `None` for stuff.
        per_class_ap50: AP50 of each class, `None` for stuff.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    per_class: tuple[float | None, ...]
    per_class_ap50: tuple[float | None, ...]


class Outcome(IntEnum):
    """What a detection is at one threshold."""

    FALSE_POSITIVE = 0
    TRUE_POSITIVE = 1
    IGNORED = 2


@dataclass(frozen=True)
class ImageDetections:
    """The d detections of one image.

    Attributes:
        image_id: the image's id, which orders detections of equal scores.
        classes: of each one.
        scores: of each one, float64.
        outcomes: an `Outcome` for each setting (s: thresholds, areas) and detection.
    """

    image_id: int | str
    classes: Int[np.ndarray, " d"]
    scores: Float[np.ndarray, " d"]
    outcomes: UInt8[np.ndarray, "s d"]


@dataclass
class DetectionState:
    """All detections so far, about 60 bytes each, and how many instances are annotated.

    Attributes:
        truths: annotated instances that count, for each range of areas and class.
        settings: s, outcomes of each detection.
        images: the images with detections.
    """

    truths: Int[np.ndarray, "a n"]
    settings: int
    images: list[ImageDetections] = field(default_factory=list)

    def merge(self, other: DetectionState) -> None:
        """Adds what another process has seen."""
        self.truths += other.truths
        self.images += other.images

    def joined(self) -> tuple[Int[np.ndarray, " d"], Float[np.ndarray, " d"], UInt8[np.ndarray, "s d"]]:
        """Classes, scores and outcomes of all detections, image by image in the order of the ids."""
        images = sorted(self.images, key=lambda image: (isinstance(image.image_id, str), image.image_id))
        if not images:
            return np.empty(0, np.int64), np.empty(0), np.empty((self.settings, 0), np.uint8)
        return (
            np.concatenate([image.classes for image in images]),
            np.concatenate([image.scores for image in images]),
            np.concatenate([image.outcomes for image in images], axis=1),
        )


def mean_percent(values: Float[np.ndarray, "*shape"]) -> float | None:
    """Mean of the values that are numbers, in percent; `None` without any."""
    numbers = values[~np.isnan(values)]
    return 100 * float(numbers.mean()) if numbers.size else None
