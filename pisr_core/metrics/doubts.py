"""Annotations that are likely to be wrong: where a confident model disagrees on whole segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pisr_core.metrics.overlaps import Overlaps
from pisr_core.metrics.panoptic_quality import Matches

CONFIDENT = 0.8
"""Score from which a predicted segment raises a doubt."""


@dataclass(frozen=True)
class Doubt:
    """An annotated segment, or a part of one, that is predicted with confidence as another class.

    Attributes:
        image_id: the id in the dataset's files.
        file_name: the image's file name.
        segment: id of the annotated segment.
        annotated: position of its class.
        predicted: position of the predicted class.
        pixels: that both segments share.
        score: of the predicted segment, in [0, 1].
        weight: score times the share of the image's pixels.
    """

    image_id: int | str
    file_name: str
    segment: int
    annotated: int
    predicted: int
    pixels: int
    score: float
    weight: float


class Doubts:
    """Keeps the doubts of the largest weight.

    Args:
        limit: how many.

    Attributes:
        state: the doubts so far, the worst first.
    """

    def __init__(self, limit: int = 40) -> None:
        self.limit = limit
        self.state: list[Doubt] = []

    def update(self, image_id: int | str, file_name: str, overlaps: Overlaps, matches: Matches) -> None:
        """Adds those of one image: what two segments share of different classes, of which one has no match.

        It has to be most of that one, so that borders between right segments raise none.
        """
        right = matches.iou > 0
        scores = overlaps.prediction.segments.scores
        missed, superfluous = ~right.any(axis=1, keepdims=True), ~right.any(axis=0) & ~matches.ignored
        most_of_missed = missed & (2 * overlaps.shared > overlaps.true_areas[:, None])
        most_of_superfluous = superfluous & (2 * overlaps.shared > overlaps.predicted_areas)
        different = overlaps.true_classes[:, None] != overlaps.predicted_classes
        doubtful = (most_of_missed | most_of_superfluous) & different & ~overlaps.crowd[:, None] & (scores >= CONFIDENT)
        image_pixels = int(overlaps.pixels.sum())
        self.merge(
            [
                Doubt(
                    image_id,
                    file_name,
                    int(overlaps.truth.ids[true]),
                    int(overlaps.true_classes[true]),
                    int(overlaps.predicted_classes[predicted]),
                    int(overlaps.shared[true, predicted]),
                    float(scores[predicted]),
                    float(scores[predicted] * overlaps.shared[true, predicted] / image_pixels),
                )
                for true, predicted in zip(*np.nonzero(doubtful), strict=True)
            ]
        )

    def merge(self, state: Iterable[Doubt]) -> None:
        """Adds others."""
        found = list(state)
        if found:
            ordered = sorted(
                [*self.state, *found], key=lambda doubt: (-doubt.weight, str(doubt.image_id), doubt.segment)
            )
            self.state = ordered[: self.limit]

    def result(self) -> Sequence[Doubt]:
        """The doubts so far."""
        return tuple(self.state)
