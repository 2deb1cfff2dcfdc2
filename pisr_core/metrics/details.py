"""What an evaluation tells beside its scores when asked: what costs PQ, each image, likely wrong annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pisr_core.metrics.doubts import Doubt, Doubts
from pisr_core.metrics.error_kinds import KINDS, error_counts
from pisr_core.metrics.overlaps import Overlaps
from pisr_core.metrics.panoptic_quality import COLUMNS, Matches, PanopticQuality
from pisr_core.metrics.worst import ImageScore
from pisr_core.structures import Category


@dataclass(frozen=True)
class ErrorCost:
    """What one kind of mistake costs: PQ where it is replaced by the truth, less PQ; points of 0–100.

    Attributes:
        kind: a name of `KINDS`.
        all: over all classes; `None` where no class occurs.
        things: over thing classes.
        stuff: over stuff classes.
        mistakes: how many there are.
    """

    kind: str
    all: float | None
    things: float | None
    stuff: float | None
    mistakes: int


@dataclass(frozen=True)
class ImageCounts:
    """What one image adds to PQ.

    Attributes:
        score: how it came out.
        classes: positions of the classes that it has, ascending.
        counts: for each of them the columns `COLUMNS`.
    """

    score: ImageScore
    classes: Int[np.ndarray, " c"]
    counts: Float[np.ndarray, "c 4"]


@dataclass(frozen=True)
class DetailedResult:
    """The details of all images.

    Attributes:
        costs: of each kind of mistake, in the order of `KINDS`.
        images: of each image.
        doubts: likely wrong annotations, the worst first.
    """

    costs: tuple[ErrorCost, ...]
    images: tuple[ImageCounts, ...]
    doubts: Sequence[Doubt]


class Details:
    """Counts them, image by image.

    Args:
        categories: the dataset's.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self._stuff = np.array([not category.isthing for category in categories], bool)
        self._errors: Float[np.ndarray, "kinds classes 5"]
        self._errors = np.zeros((len(KINDS), len(self.categories), len(COLUMNS) + 1))
        self._images: list[ImageCounts] = []
        self._doubts = Doubts()

    def update(
        self, score: ImageScore, overlaps: Overlaps, matches: Matches, counts: Float[np.ndarray, "classes 4"]
    ) -> None:
        """Adds one image."""
        self._errors += error_counts(overlaps, matches, self._stuff)
        classes = np.flatnonzero(counts[:, 1:].any(axis=1))
        self._images.append(ImageCounts(score, classes, counts[classes]))
        self._doubts.update(score.image_id, score.file_name, overlaps, matches)

    @property
    def state(self) -> tuple[Any, ...]:
        """What was counted so far, to send to another process."""
        return self._errors, self._images, self._doubts.state

    def merge(self, state: tuple[Any, ...]) -> None:
        """Adds the state of another one."""
        errors, images, doubts = state
        self._errors += errors
        self._images += images
        self._doubts.merge(doubts)

    def result(self, quality: PanopticQuality) -> DetailedResult:
        """The details of all images so far, of which PQ's sums are given."""
        costs = tuple(self._cost(kind, quality, errors) for kind, errors in zip(KINDS, self._errors, strict=True))
        return DetailedResult(costs, tuple(self._images), self._doubts.result())

    def _cost(self, kind: str, quality: PanopticQuality, errors: Float[np.ndarray, "classes 5"]) -> ErrorCost:
        mended = PanopticQuality(self.categories)
        mended.merge(quality.state + errors[:, : len(COLUMNS)])
        before, after = quality.result(), mended.result()
        groups = ((before.all.pq, after.all.pq), (before.things.pq, after.things.pq), (before.stuff.pq, after.stuff.pq))
        every, things, stuff = (None if now is None or then is None else then - now for now, then in groups)
        return ErrorCost(kind, every, things, stuff, int(errors[:, -1].sum()))
