"""The segments of a prediction, each with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from pisr_core.pixel_runs import find_runs
from pisr_core.structures import Category, PanopticSegmentation


@dataclass(frozen=True, eq=False)
class PredictedSegment:
    """A thing or a piece of stuff in an image.

    Attributes:
        label: the name of its class.
        isthing: whether it is an instance.
        score: confidence in [0, 1].
        area: pixels.
        bbox: (x, y, width, height) in pixels, as in COCO.
        id: its value in the panoptic map.
        category_id: of its class, in the dataset's files.
    """

    label: str
    isthing: bool
    score: float
    area: int
    bbox: tuple[int, int, int, int]
    id: int
    category_id: int
    _ids: Int[np.ndarray, "H W"] = field(repr=False)

    @property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """(H, W), true on its pixels; made anew at each call."""
        return self._ids == self.id


def predicted_segments(panoptic: PanopticSegmentation, categories: Sequence[Category]) -> tuple[PredictedSegment, ...]:
    """The segments of a map, in its order."""
    runs = find_runs(panoptic.ids)
    boxes = dict(zip(runs.present.tolist(), map(tuple, runs.boxes.tolist()), strict=True))
    return tuple(
        PredictedSegment(
            label=categories[segment.category].name,
            isthing=categories[segment.category].isthing,
            score=segment.score,
            area=segment.area,
            bbox=boxes[segment.id],
            id=segment.id,
            category_id=categories[segment.category].id,
            _ids=panoptic.ids,
        )
        for segment in panoptic.segments
    )
