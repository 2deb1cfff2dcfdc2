"""Categories and panoptic maps, which need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from pisr_core.pixel_runs import Runs, find_runs

VOID_ID = 0
"""Segment id of unlabelled pixels, as in COCO's panoptic PNGs."""

IGNORE_INDEX = 255
"""Class of pixels without a semantic label, where classes fit into 8 bits."""

MOST_CLASSES = 65_535
"""That a dataset can have."""


def ignore_index(num_classes: int) -> int:
    """Class of pixels without a semantic label: 255, or where that is a class, `MOST_CLASSES`."""
    return IGNORE_INDEX if num_classes <= IGNORE_INDEX else MOST_CLASSES


@dataclass(frozen=True)
class Category:
    """One class of a dataset. Inside `pisr` a class is its position in the dataset's tuple of categories.

    Attributes:
        id: the id in the dataset's files.
        name: its name.
        isthing: whether its instances are counted.
        color: RGB, 0–255.
        supercategory: the group that it belongs to, if any.
    """

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int] = (0, 0, 0)
    supercategory: str = ""


def thing_ids(categories: Sequence[Category]) -> tuple[int, ...]:
    """Positions of the thing classes."""
    return tuple(index for index, category in enumerate(categories) if category.isthing)


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map.

    Attributes:
        id: its value in the map, greater than zero.
        category: position of its class in the dataset's categories.
        area: pixels.
        iscrowd: whether it is a group of instances that could not be told apart.
        score: confidence in [0, 1] of a prediction; 1 for annotations.
    """

    id: int
    category: int
    area: int
    iscrowd: bool = False
    score: float = 1.0


@dataclass(frozen=True)
class SegmentArrays:
    """Segments as one array for each of their attributes, which those are counted from.

    Attributes:
        ids: of each segment.
        classes: position of its class in the dataset's categories.
        crowds: whether it is a crowd.
        scores: confidence in [0, 1] of predictions; 1 for annotations.
    """

    ids: Int[np.ndarray, " s"]
    classes: Int[np.ndarray, " s"]
    crowds: Bool[np.ndarray, " s"]
    scores: Float[np.ndarray, " s"]

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> SegmentArrays:
        """Those of a list."""
        return cls(
            np.array([segment.id for segment in segments], np.int64),
            np.array([segment.category for segment in segments], np.int64),
            np.array([segment.iscrowd for segment in segments], bool),
            np.array([segment.score for segment in segments], np.float64),
        )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PanopticSegmentation:
    """A panoptic map on the host, predicted or annotated.

    Attributes:
        ids: (H, W) int32, the segment of each pixel, `VOID_ID` where there is none.
        segments: what each id stands for.
    """

    ids: Int[np.ndarray, "H W"]
    segments: tuple[Segment, ...]

    def segment_index(self) -> Int[np.ndarray, "H W"]:
        """Position of each pixel's segment in `segments`; their number for pixels of none (void)."""
        runs = find_runs(self.ids)
        return runs.paint(self.positions(runs))

    def positions(self, runs: Runs) -> Int[np.ndarray, " s"]:
        """The same for each id that is present in the runs of the map."""
        positions = {segment.id: position for position, segment in enumerate(self.segments)}
        void = len(self.segments)
        return np.array([positions.get(i, void) for i in runs.present.tolist()], dtype=np.int64)

    def semantic(self, num_classes: int = IGNORE_INDEX) -> Integer[np.ndarray, "H W"]:
        """(H, W) class of each pixel, `ignore_index` for void; of `class_dtype`."""
        runs, void = find_runs(self.ids), ignore_index(num_classes)
        classes = {segment.id: segment.category for segment in self.segments}
        dtype = np.uint8 if num_classes <= IGNORE_INDEX else np.int32
        return runs.paint(np.array([classes.get(i, void) for i in runs.present.tolist()], dtype=dtype))


@dataclass(frozen=True)
class PanopticResult:
    """A model's answer for one image, at the image's own size.

    Attributes:
        panoptic: the panoptic map with scored segments.
        semantic: (H, W) of `class_dtype`, the most probable class of each pixel before merging.
    """

    panoptic: PanopticSegmentation
    semantic: Integer[np.ndarray, "H W"]
