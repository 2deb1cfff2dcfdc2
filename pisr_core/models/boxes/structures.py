"""What travels through the room: targets, detections, proposals, one stage's prediction, the network's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from pisr_core.structures import SemanticPrediction, TensorStruct


@dataclass(frozen=True)
class FPNTargets(TensorStruct):
    """What Panoptic FPN learns from, at image resolution. The tuples hold one tensor for each image.

    Attributes:
        semantic: 0 on things, 1 + position among the stuff classes on stuff, `ignore_index` where there is none.
        boxes: (x1, y1, x2, y2) around each instance, pixels.
        labels: position of each instance's class among the thing classes.
        masks: of the instances.
    """

    semantic: Int[Tensor, "*b H W"]
    boxes: tuple[Float[Tensor, "_ 4"], ...]
    labels: tuple[Int[Tensor, " _"], ...]
    masks: tuple[Bool[Tensor, "_ H W"], ...]


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
