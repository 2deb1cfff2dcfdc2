"""What travels between the parts: categories, panoptic maps, samples, predictions and outputs.

Shapes: b batch, n semantic classes, k instances, c channels, h×w the feature grid (stride 4), H×W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor

from pisr_core.pixel_runs import find_runs

VOID_ID = 0
"""Segment id of unlabelled pixels, as in COCO's panoptic PNGs."""

IGNORE_INDEX = 255
"""Class of pixels without a semantic label, where classes fit into 8 bits."""

MOST_CLASSES = 65_535
"""That a dataset can have."""


def ignore_index(num_classes: int) -> int:
    """Class of pixels without a semantic label: 255, or where that is a class, `MOST_CLASSES`."""
    return IGNORE_INDEX if num_classes <= IGNORE_INDEX else MOST_CLASSES


def class_dtype(num_classes: int) -> torch.dtype:
    """What holds the classes of a semantic map and `ignore_index`: uint8, or int32 where that is too small."""
    return torch.uint8 if num_classes <= IGNORE_INDEX else torch.int32


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
        positions = {segment.id: position for position, segment in enumerate(self.segments)}
        void = len(self.segments)
        return runs.paint(np.array([positions.get(i, void) for i in runs.present.tolist()], dtype=np.int64))

    def semantic(self, num_classes: int = IGNORE_INDEX) -> Integer[np.ndarray, "H W"]:
        """(H, W) class of each pixel, `ignore_index` for void; of `class_dtype`."""
        runs, void = find_runs(self.ids), ignore_index(num_classes)
        classes = {segment.id: segment.category for segment in self.segments}
        of_runs = torch.tensor([classes.get(i, void) for i in runs.present.tolist()], dtype=class_dtype(num_classes))
        return runs.paint(of_runs.numpy())


@dataclass(frozen=True)
class PanopticResult:
    """A model's answer for one image, at the image's own size.

    Attributes:
        panoptic: the panoptic map with scored segments.
        semantic: (H, W) of `class_dtype`, the most probable class of each pixel before merging.
    """

    panoptic: PanopticSegmentation
    semantic: Integer[np.ndarray, "H W"]


@dataclass(frozen=True)
class Sample:
    """One image of a dataset with its annotation.

    Attributes:
        image: (3, H, W) uint8, RGB.
        panoptic: the annotation, `None` on a split that has none.
        image_id: the id in the dataset's files.
        file_name: the image's file name, for messages and results.
    """

    image: UInt8[Tensor, "3 H W"]
    panoptic: PanopticSegmentation | None
    image_id: int | str
    file_name: str


@runtime_checkable
class PanopticDataset(Protocol):
    """A map-style dataset of panoptic samples."""

    categories: tuple[Category, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image in pixels, without reading it."""
        ...

    def file_name(self, index: int) -> str:
        """The name of an image, without reading it."""
        ...


Struct = TypeVar("Struct", bound="TensorStruct")


@dataclass(frozen=True)
class TensorStruct:
    """A dataclass of tensors, or of tuples with a tensor for each image, that moves as one."""

    def to(self: Struct, device: torch.device, non_blocking: bool = False) -> Struct:
        """The same on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: Struct) -> Struct:
        """The same in page-locked memory, which a GPU copies from while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self: Struct, change: Callable[[Tensor], Tensor]) -> Struct:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self, **{k: tuple(map(change, v)) if isinstance(v, tuple) else change(v) for k, v in values.items()}
        )

    @classmethod
    def stack(cls: type[Struct], items: Sequence[Struct]) -> Struct:
        """One for a batch: tensors get a batch dimension, tuples are joined."""
        columns = {f.name: [getattr(item, f.name) for item in items] for f in fields(cls)}
        return cls(**{k: sum(v, ()) if isinstance(v[0], tuple) else torch.stack(v) for k, v in columns.items()})


TargetGenerator = Callable[[PanopticSegmentation], TensorStruct]
"""Turns one image's annotation into what an architecture learns from."""


@dataclass(frozen=True)
class TrainingBatch:
    """What one training step reads.

    Attributes:
        images: (b, 3, H, W) uint8, RGB, all of the crop's size.
        targets: what the architecture learns from, as its target generator gives it.
        keys: the (epoch, index) of each image in the dataset, to name a bad batch.
    """

    images: UInt8[Tensor, "b 3 H W"]
    targets: TensorStruct
    keys: tuple[tuple[int, int], ...]

    def to(self, device: torch.device) -> TrainingBatch:
        """The same on another device."""
        return replace(self, images=self.images.to(device, non_blocking=True), targets=self.targets.to(device, True))

    def pin_memory(self) -> TrainingBatch:
        """The same in page-locked memory; torch's loader calls it."""
        return replace(self, images=self.images.pin_memory(), targets=self.targets.pin_memory())


@dataclass(frozen=True)
class SemanticPrediction:
    """The paper's S: what a semantic head says of each cell.

    Attributes:
        logits: (b, n, h, w).
        probabilities: (b, n, h, w), softmax over the classes.
    """

    logits: Float[Tensor, "b n h w"]
    probabilities: Float[Tensor, "b n h w"]

    @classmethod
    def from_logits(cls, logits: Float[Tensor, "b n h w"]) -> SemanticPrediction:
        """Softmax in at least float32, whatever the autocast type."""
        return cls(logits, logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1))

    def detach(self) -> SemanticPrediction:
        """The same without a gradient."""
        return SemanticPrediction(self.logits.detach(), self.probabilities.detach())
