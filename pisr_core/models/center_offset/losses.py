"""Panoptic-DeepLab's losses: hard-pixel cross entropy, squared error of centres, absolute error of offsets."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import LossConfig
from pisr_core.models.center_offset.structures import CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.models.denominators import shared_denominator
from pisr_core.structures import ignore_index


def hard_pixel_cross_entropy(
    logits: Float[Tensor, "b n H W"],
    target: Int[Tensor, "b H W"],
    weight: Float[Tensor, "b H W"],
    share: float,
    class_weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy averaged over the share of the batch's pixels where it is highest.

    Pixels without a label count as zero. Each process chooses among its own part of the batch.

    Args:
        logits: of the classes.
        target: class of each pixel or `ignore_index`.
        weight: of each pixel.
        share: within (0, 1]; 1 averages over all.
        class_weights: factor of each class, which decides what is hard too.
    """
    unlabelled = ignore_index(logits.shape[1])
    losses = F.cross_entropy(logits, target, class_weights, ignore_index=unlabelled, reduction="none")
    losses = (losses * weight).flatten()
    if share < 1:
        losses = losses.topk(max(1, int(share * losses.numel())), sorted=False).values
    return losses.mean()


def center_mse(
    heatmap: Float[Tensor, "b 1 H W"], target: Float[Tensor, "b 1 H W"], weight: Float[Tensor, "b 1 H W"]
) -> Float[Tensor, ""]:
    """Squared error of the centre heatmap, averaged over the weights of all processes."""
    return ((heatmap - target) ** 2 * weight).sum() / shared_denominator(weight.sum(), at_least=1)


def offset_l1(
    offset: Float[Tensor, "b 2 H W"], target: Float[Tensor, "b 2 H W"], weight: Float[Tensor, "b 1 H W"]
) -> Float[Tensor, ""]:
    """|Δy| + |Δx| in pixels, averaged over the weights of all processes."""
    return ((offset - target).abs() * weight).sum() / shared_denominator(weight.sum(), at_least=1)


def center_offset_losses(
    prediction: CenterOffsetPrediction,
    targets: CenterOffsetTargets,
    config: LossConfig,
    class_weights: Float[Tensor, " n"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """One stage's weighted terms, at image resolution in float32; offsets turn from cells into pixels here."""
    size = targets.semantic.shape[-2:]
    stride = size[0] // prediction.offset.shape[-2]

    def upsample(maps: Tensor) -> Tensor:
        # Of few cells, not of many pixels, a copy is made whose classes are maps, as the losses read them.
        return F.interpolate(maps.float().contiguous(), size=size, mode="bilinear", align_corners=False)

    semantic = hard_pixel_cross_entropy(
        upsample(prediction.semantic.logits),
        targets.semantic,
        targets.semantic_weight,
        config.hard_pixel_share,
        class_weights,
    )
    center = center_mse(upsample(prediction.center_heatmap), targets.center, targets.center_weight)
    offset = offset_l1(upsample(prediction.offset) * stride, targets.offset, targets.offset_weight)
    return {
        "semantic": config.semantic * semantic,
        "center": config.center * center,
        "offset": config.offset * offset,
    }
