"""What travels between the parts: categories, panoptic maps, samples, predictions and outputs.

Shapes: b batch, n semantic classes, k instances, c channels, h×w the feature grid (stride 4), H×W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from pisr_core.pixel_runs import find_runs

VOID_ID = 0
"""Segment id of unlabelled pixels, as in COCO's panoptic PNGs."""

IGNORE_INDEX = 255
"""Class of pixels without a semantic label."""


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

    def semantic(self) -> UInt8[np.ndarray, "H W"]:
        """(H, W) class of each pixel, `IGNORE_INDEX` for void (at most 255 classes)."""
        runs = find_runs(self.ids)
        classes = {segment.id: segment.category for segment in self.segments}
        return runs.paint(np.array([classes.get(i, IGNORE_INDEX) for i in runs.present.tolist()], dtype=np.uint8))


@dataclass(frozen=True)
class PanopticResult:
    """A model's answer for one image, at the image's own size.

    Attributes:
        panoptic: the panoptic map with scored segments.
        semantic: (H, W) uint8, the most probable class of each pixel before merging.
    """

    panoptic: PanopticSegmentation
    semantic: UInt8[np.ndarray, "H W"]


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
class DeepLabTargets(TensorStruct):
    """What Panoptic-DeepLab learns from, at image resolution. Weights of 0 leave a pixel out.

    Attributes:
        semantic: class of each pixel, `IGNORE_INDEX` where there is none.
        semantic_weight: weight of each pixel in the semantic loss.
        center: a Gaussian of height 1 at each instance's centre of mass.
        center_weight: 0 on void and crowd.
        offset: (y, x) from each thing pixel to its instance's centre of mass, pixels.
        offset_weight: 0 on void, crowd and (by choice) stuff.
    """

    semantic: Int[Tensor, "*b H W"]
    semantic_weight: Float[Tensor, "*b H W"]
    center: Float[Tensor, "*b 1 H W"]
    center_weight: Float[Tensor, "*b 1 H W"]
    offset: Float[Tensor, "*b 2 H W"]
    offset_weight: Float[Tensor, "*b 1 H W"]


@dataclass(frozen=True)
class MaskTargets(TensorStruct):
    """What MaskFormer learns from: the segments of each image, as many as it has.

    Attributes:
        labels: class of each segment.
        masks: its pixels, at image resolution.
    """

    labels: tuple[Int[Tensor, " _"], ...]
    masks: tuple[Bool[Tensor, "_ H W"], ...]


@dataclass(frozen=True)
class FPNTargets(TensorStruct):
    """What Panoptic FPN learns from, at image resolution. The tuples hold one tensor for each image.

    Attributes:
        semantic: 0 on things, 1 + position among the stuff classes on stuff, `IGNORE_INDEX` where there is none.
        boxes: (x1, y1, x2, y2) around each instance, pixels.
        labels: position of each instance's class among the thing classes.
        masks: of the instances.
    """

    semantic: Int[Tensor, "*b H W"]
    boxes: tuple[Float[Tensor, "_ 4"], ...]
    labels: tuple[Int[Tensor, " _"], ...]
    masks: tuple[Bool[Tensor, "_ H W"], ...]


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


@dataclass(frozen=True)
class DeepLabPrediction:
    """One stage's predictions of Panoptic-DeepLab, on the stride-4 grid.

    Attributes:
        semantic: S.
        center_heatmap: M, (b, 1, h, w), about 0 to 1.
        offset: O, (b, 2, h, w), (y, x) to the instance's centre, in stride-4 cells.
    """

    semantic: SemanticPrediction
    center_heatmap: Float[Tensor, "b 1 h w"]
    offset: Float[Tensor, "b 2 h w"]


@dataclass(frozen=True)
class DeepLabOutput:
    """What the whole network of Fig. 2 gives.

    Attributes:
        final: the final stage's predictions; the only ones of a base model.
        initial: the first stage's predictions, `None` for a base model.
        instances: I, (b, k, h, w) in [0, 1], `None` for a base model.
    """

    final: DeepLabPrediction
    initial: DeepLabPrediction | None = None
    instances: Float[Tensor, "b k h w"] | None = None


@dataclass(frozen=True)
class MaskPrediction:
    """What MaskFormer's queries say, c = n + 1 classes of which the last stands for no object.

    Attributes:
        class_logits: (b, q, c).
        mask_logits: (b, q, h, w), of the sigmoid, on the stride-4 grid.
    """

    class_logits: Float[Tensor, "b q c"]
    mask_logits: Float[Tensor, "b q h w"]


@dataclass(frozen=True)
class MaskFormerOutput:
    """What MaskFormer's network gives.

    Attributes:
        final: the final stage's prediction; for a base model that of the last decoder layer.
        auxiliary: predictions of the decoder's layers before the last, for their losses.
        initial: the first stage's prediction, from the last decoder layer; `None` for a base model.
        instances: I, (b, k, h, w) in [0, 1], `None` for a base model.
    """

    final: MaskPrediction
    auxiliary: tuple[MaskPrediction, ...] = ()
    initial: MaskPrediction | None = None
    instances: Float[Tensor, "b k h w"] | None = None


@dataclass(frozen=True)
class Detections:
    """Instances found in one image, the most confident first.

    Attributes:
        boxes: (x1, y1, x2, y2), pixels of the padded image.
        scores: in [0, 1].
        labels: position of each one's class among the thing classes.
        masks: probabilities on a grid of m×m cells that fills the box.
    """

    boxes: Float[Tensor, "k 4"]
    scores: Float[Tensor, " k"]
    labels: Int[Tensor, " k"]
    masks: Float[Tensor, "k m m"]


@dataclass(frozen=True)
class FPNPrediction:
    """One stage's predictions of Panoptic FPN.

    Attributes:
        semantic: S, (b, 1 + stuff classes, h, w), class 0 for all things.
        pyramid: what the stage's box and mask heads read, by level.
        detections: of each image; empty where nobody reads them.
    """

    semantic: SemanticPrediction
    pyramid: Mapping[str, Float[Tensor, "b c _ _"]]
    detections: tuple[Detections, ...] = ()


@dataclass(frozen=True)
class FPNProposals:
    """What the region proposal network gives both stages.

    Attributes:
        boxes: (x1, y1, x2, y2) of each image's proposals, pixels of the padded image; without a gradient.
        anchors: of each image.
        objectness: logits of all images' anchors.
        deltas: from all images' anchors to their boxes.
        image_size: (H, W) of the padded images.
    """

    boxes: list[Float[Tensor, "_ 4"]]
    anchors: list[Float[Tensor, "a 4"]]
    objectness: Float[Tensor, "ba 1"]
    deltas: Float[Tensor, "ba 4"]
    image_size: tuple[int, int]


@dataclass(frozen=True)
class FPNOutput:
    """What the whole network of Fig. 2 gives on Panoptic FPN.

    Attributes:
        final: the final stage's predictions; the only ones of a base model. Detections in evaluation only.
        proposals: the boxes that both stages look at.
        initial: the first stage's predictions, `None` for a base model.
        instances: I, (b, k, h, w) in [0, 1], `None` for a base model.
    """

    final: FPNPrediction
    proposals: FPNProposals
    initial: FPNPrediction | None = None
    instances: Float[Tensor, "b k h w"] | None = None
