"""What travels between the parts and holds tensors: samples, batches and predictions.

Shapes: b batch, n semantic classes, k instances, c channels, h×w the feature grid (stride 4), H×W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pisr_core.structures.panoptic import IGNORE_INDEX, Category, PanopticSegmentation


def class_dtype(num_classes: int) -> torch.dtype:
    """What holds the classes of a semantic map and `ignore_index`: uint8, or int32 where that is too small."""
    return torch.uint8 if num_classes <= IGNORE_INDEX else torch.int32


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
