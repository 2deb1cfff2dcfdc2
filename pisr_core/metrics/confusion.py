"""Which classes' segments are taken for which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from pisr_core.metrics.overlaps import Overlaps


@dataclass(frozen=True)
class SegmentConfusion:
    """Counted segments of n classes.

    Attributes:
        counts: (n + 1, n + 1). Cell (a, b) is the number of annotated segments of class a of which a predicted
            segment of class b covers most; the last column is for those of which void covers most. The last row
            is for predicted segments that cover most of no annotated one.
    """

    counts: tuple[tuple[int, ...], ...]


class Confusion:
    """Counts segments, image by image.

    Every annotated segment that is no crowd counts once, for the predicted segment (or void) with the most of its
    pixels; where two have as many, a segment goes before void and an earlier one before a later one. Every
    predicted segment that no annotated one counted for is in the last row, unless PQ ignores it.

    Attributes:
        state: the counts, (n + 1, n + 1); states of several processes add up.
    """

    def __init__(self, num_classes: int) -> None:
        self.state: Int[np.ndarray, "rows columns"] = np.zeros((num_classes + 1, num_classes + 1), np.int64)

    def update(self, overlaps: Overlaps, ignored: Bool[np.ndarray, " p"]) -> None:
        """Adds one image, of which PQ ignores some predictions."""
        none = len(self.state) - 1
        counted = ~overlaps.crowd & (overlaps.true_areas > 0)
        void_last = np.roll(overlaps.pixels[1:], -1, axis=1)
        covers = void_last[counted].argmax(axis=1)
        classes = np.append(overlaps.predicted_classes, none)
        np.add.at(self.state, (overlaps.true_classes[counted], classes[covers]), 1)
        superfluous = ~ignored
        superfluous[covers[covers < len(superfluous)]] = False
        np.add.at(self.state[none], overlaps.predicted_classes[superfluous], 1)

    def merge(self, state: Int[np.ndarray, "rows columns"]) -> None:
        """Adds the state of another one."""
        self.state += state

    def result(self) -> SegmentConfusion:
        """The counts of all images so far."""
        return SegmentConfusion(tuple(map(tuple, self.state.tolist())))
