"""The loss of Panoptic FPN's semantic branch; those of proposals, boxes and masks are torchvision's."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.denominators import shared_denominator
from pisr_core.structures import ignore_index


def semantic_cross_entropy(
    logits: Float[Tensor, "b n h w"], target: Int[Tensor, "b H W"], class_weights: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Cross entropy at image resolution in float32, averaged over the weights of the labelled pixels of all processes.

    Without any it is 0.

    Args:
        logits: on the stride-4 grid.
        target: class of each pixel or `ignore_index`.
        class_weights: factor of each class, 1 without.
    """
    upsampled = F.interpolate(logits.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
    unlabelled = ignore_index(logits.shape[1])
    total = F.cross_entropy(upsampled, target, class_weights, ignore_index=unlabelled, reduction="sum")
    labelled = target != unlabelled
    count = labelled.sum() if class_weights is None else class_weights[target[labelled]].sum()
    return total / shared_denominator(count, at_least=1)
