"""The entries of a panoptic JSON as arrays, which look like sequences and mappings of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Bool, Float, Int, UInt16

from pisr_core.data.columns import IdColumn, TextColumn
from pisr_core.structures import Category, Segment, SegmentArrays

NO_AREA = -(2**31)
"""Of a segment whose entry lists none; areas are kept in 32 bits."""


@dataclass(frozen=True)
class ImageRecord:
    """One entry of `images`.

    Attributes:
        id: its id, an integer or (Cityscapes) a string.
        file_name: its path in the folder of images.
        size: (H, W) in pixels.
    """

    id: int | str
    file_name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class AnnotationRecord:
    """One entry of `annotations`.

    Attributes:
        file_name: the PNG's path in its folder.
        segments: what its ids stand for; their areas are 0 until the PNG is read.
    """

    file_name: str
    segments: tuple[Segment, ...]


class ImageTable(Sequence[ImageRecord]):
    """The images of a file, in its order; a record is made when it is asked for.

    Args:
        ids: each once.
        file_names: of each image.
        sizes: (H, W) of each in pixels.

    Attributes:
        ids: of the images.
        file_names: of the images.
    """

    def __init__(self, ids: Sequence[int | str], file_names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
        self.ids = IdColumn(ids)
        self.file_names = TextColumn(file_names)
        self._sizes: Int[np.ndarray, "images 2"] = np.array(sizes, np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[ImageRecord]: ...

    def __getitem__(self, index: int | slice) -> ImageRecord | list[ImageRecord]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return ImageRecord(self.ids[index], self.file_names[index], self.size(index))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageTable) and list(self) == list(other)

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image in pixels."""
        height, width = self._sizes[index].tolist()
        return height, width


@dataclass(frozen=True)
class SegmentColumns:
    """The segments of some annotations, one annotation after another.

    Attributes:
        counts: segments of each annotation.
        ids: of each segment.
        classes: position of its class in the categories.
        crowds: whether it is a crowd.
        scores: in [0, 1] for predictions, 1 where none is listed.
        areas: what its entry claims, pixels; `NO_AREA` without.
    """

    counts: Int[np.ndarray, " annotations"]
    ids: Int[np.ndarray, " segments"]
    classes: UInt16[np.ndarray, " segments"]
    crowds: Bool[np.ndarray, " segments"]
    scores: Float[np.ndarray, " segments"] | None
    areas: Int[np.ndarray, " segments"]


class AnnotationTable(Mapping[int | str, AnnotationRecord]):
    """The annotations of a file by their images' ids, in its order; a record is made when it is asked for.

    Args:
        image_ids: of all images, which may lack an annotation.
        images: position of each annotation's image among them.
        file_names: of each annotation's PNG.
        segments: of all annotations.

    Attributes:
        file_names: of the PNGs.
    """

    def __init__(
        self,
        image_ids: IdColumn,
        images: Int[np.ndarray, " annotations"],
        file_names: Sequence[str],
        segments: SegmentColumns,
    ) -> None:
        self._image_ids = image_ids
        self._images = images
        self.file_names = TextColumn(file_names)
        self._segments = segments
        self._ends: Int[np.ndarray, " annotations"] = np.cumsum(segments.counts)
        self._rows: Int[np.ndarray, " images"] = np.full(len(image_ids), -1, np.int32)
        self._rows[images] = np.arange(len(images))

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[int | str]:
        return (self._image_ids[position] for position in self.positions())

    def __getitem__(self, image_id: int | str) -> AnnotationRecord:
        position = self._image_ids.find(image_id)
        record = None if position is None else self.of_image(position)
        if record is None:
            raise KeyError(image_id)
        return record

    def positions(self) -> list[int]:
        """The position of each annotation's image."""
        return self._images.tolist()

    def annotated(self) -> Bool[np.ndarray, " images"]:
        """Which images have an annotation."""
        return self._rows >= 0

    def of_image(self, position: int) -> AnnotationRecord | None:
        """The annotation of the image at a position, if it has one."""
        row = int(self._rows[position])
        if row < 0:
            return None
        arrays = self.segments(position)
        columns = (arrays.ids, arrays.classes, arrays.crowds, arrays.scores)
        segments = (
            Segment(segment_id, category, 0, crowd, score)
            for segment_id, category, crowd, score in zip(*(column.tolist() for column in columns), strict=True)
        )
        return AnnotationRecord(self.file_names[row], tuple(segments))

    def listed_classes(self, position: int) -> Int[np.ndarray, " segments"]:
        """The positions of the classes of an image's segments."""
        return self._segments.classes[self._part(int(self._rows[position]))].astype(np.int64)

    def file_name(self, position: int) -> str:
        """The PNG's path in its folder, of an image that has an annotation."""
        return self.file_names[int(self._rows[position])]

    def segments(self, position: int) -> SegmentArrays:
        """Those of an image that has an annotation."""
        part, table = self._part(int(self._rows[position])), self._segments
        scores = np.ones(part.stop - part.start) if table.scores is None else table.scores[part]
        return SegmentArrays(table.ids[part], table.classes[part].astype(np.int64), table.crowds[part], scores)

    def listed_areas(self, position: int) -> Int[np.ndarray, " segments"]:
        """What the entries of an image's segments claim, pixels, `NO_AREA` where they claim none."""
        return self._segments.areas[self._part(int(self._rows[position]))]

    def segment_count(self) -> int:
        """Of all annotations."""
        return len(self._segments.ids)

    def _part(self, row: int) -> slice:
        return slice(self._ends[row] - self._segments.counts[row], self._ends[row])


@dataclass(frozen=True)
class CocoPanopticFile:
    """A checked panoptic JSON.

    Attributes:
        categories: sorted by id; segments name them by position.
        images: in the file's order.
        annotations: by image id; images may lack one.
    """

    categories: tuple[Category, ...]
    images: ImageTable
    annotations: AnnotationTable
