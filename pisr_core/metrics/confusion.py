"""Which classes' segments are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from pisr_core.metrics.overlaps import Overlaps


@dataclass(frozen=True)
class SegmentConfusion:
    """Counted segments of n classes.

    Attributes:
        counts: cell (a, b) is the number of annotated segments of class a of which a predicted segment of class b
            covers most; b = n is for those of which void covers most, a = n for predicted segments that cover most
            of no annotated one. Cells of 0 are left out.
    """

    counts: Mapping[tuple[int, int], int]

    def classes(self) -> list[int]:
        """Those that occur, and n if it does, ascending."""
        return sorted({position for cell in self.counts for position in cell})

    def table(self, classes: Sequence[int]) -> Int[np.ndarray, "c c"]:
        """The counts of some classes as a matrix; n may be among them."""
        return np.array([[self.counts.get((a, b), 0) for b in classes] for a in classes], np.int64)


class Confusion:
    """Counts segments, image by image.

    Every annotated segment that is no crowd counts once, for the predicted segment (or void) with the most of its
    pixels; where two have as many, a segment goes before void and an earlier one before a later one. Every
    predicted segment that no annotated one counted for is in the last row, unless PQ ignores it.

    Attributes:
        num_classes: n.
        state: the counts by cell; states of several processes add up.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.state: Counter[tuple[int, int]] = Counter()

    def update(self, overlaps: Overlaps, ignored: Bool[np.ndarray, " p"]) -> None:
        """Adds one image, of which PQ ignores some predictions."""
        none = self.num_classes
        counted = ~overlaps.crowd & (overlaps.true_areas > 0)
        void_last = np.concatenate((overlaps.shared, overlaps.pixels[1:, :1]), axis=1)
        covers = void_last[counted].argmax(axis=1)
        classes = np.append(overlaps.predicted_classes, none)
        self.state.update(zip(overlaps.true_classes[counted].tolist(), classes[covers].tolist(), strict=True))
        superfluous = ~ignored
        superfluous[covers[covers < len(superfluous)]] = False
        self.state.update((none, predicted) for predicted in overlaps.predicted_classes[superfluous].tolist())

    def merge(self, state: Counter[tuple[int, int]]) -> None:
        """Adds the state of another one."""
        self.state.update(state)

    def result(self) -> SegmentConfusion:
        """The counts of all images so far."""
        return SegmentConfusion(dict(self.state))
