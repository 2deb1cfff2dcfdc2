"""What travels through the room: targets, one stage's prediction, the network's output."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from pisr_core.structures import SemanticPrediction, TensorStruct


@dataclass(frozen=True)
class CenterOffsetTargets(TensorStruct):
    """What Panoptic-DeepLab learns from, at image resolution. Weights of 0 leave a pixel out.

    Attributes:
        semantic: class of each pixel, `ignore_index` where there is none.
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
class CenterOffsetPrediction:
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
class CenterOffsetOutput:
    """What the whole network of Fig. 2 gives.

    Attributes:
        final: the final stage's predictions; the only ones of a base model.
        initial: the first stage's predictions, `None` for a base model.
        instances: I, (b, k, h, w) in [0, 1], `None` for a base model.
        weights: ω, (b, n + k), where a loss teaches it.
    """

    final: CenterOffsetPrediction
    initial: CenterOffsetPrediction | None = None
    instances: Float[Tensor, "b k h w"] | None = None
    weights: Float[Tensor, "b m"] | None = None
