"""What travels through the room: targets, one stage's prediction, the network's output."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from pisr_core.structures import TensorStruct


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
class MaskPrediction:
    """What MaskFormer's queries say, c = n + 1 classes of which the last stands for no object.

    Attributes:
        class_logits: (b, q, c).
        mask_logits: (b, q, h, w), of the sigmoid, on the stride-4 grid.
    """

    class_logits: Float[Tensor, "b q c"]
    mask_logits: Float[Tensor, "b q h w"]


@dataclass(frozen=True)
class MaskOutput:
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
