"""MaskFormer's losses (Cheng et al., NeurIPS 2021, Sec. 3.2): cross entropy, focal and Dice of matched segments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from pisr_core.config import MaskFormerConfig
from pisr_core.models.denominators import shared_denominator
from pisr_core.models.queries.maskformer.matching import FOCAL_ALPHA, FOCAL_GAMMA, match
from pisr_core.models.queries.structures import MaskPrediction, MaskTargets


def mask_losses(
    predictions: Sequence[MaskPrediction],
    targets: MaskTargets,
    config: MaskFormerConfig,
    class_weights: Float[Tensor, " n"] | None = None,
) -> list[dict[str, Float[Tensor, ""]]]:
    """The weighted terms of each prediction, each with a matching of its own, in float32.

    Args:
        predictions: those of the decoder's layers and of the final stage.
        targets: of the batch.
        config: weights.
        class_weights: factor of each class, 1 without.

    Returns:
        For each prediction `class`, `mask` (focal) and `dice`.
    """
    labels, masks = torch.cat(targets.labels), torch.cat(targets.masks)
    with torch.autocast(labels.device.type, enabled=False):
        matches = match(predictions, targets, config)
        count = shared_denominator(torch.full((), float(len(labels)), device=labels.device), at_least=1)
        return [
            _losses(prediction, own, labels, masks, count, config, class_weights)
            for prediction, own in zip(predictions, matches, strict=True)
        ]


def _losses(
    prediction: MaskPrediction,
    matches: Int[Tensor, "3 m"],
    labels: Int[Tensor, " t"],
    masks: Bool[Tensor, "t H W"],
    count: Float[Tensor, ""],
    config: MaskFormerConfig,
    class_weights: Float[Tensor, " n"] | None,
) -> dict[str, Float[Tensor, ""]]:
    image, query, target = matches
    wanted = masks[target].float()
    predicted = F.interpolate(
        prediction.mask_logits[image, query][:, None], size=masks.shape[1:], mode="bilinear", align_corners=False
    )[:, 0]
    classes = class_loss(prediction.class_logits, image, query, labels[target], config.no_object_weight, class_weights)
    return {
        "class": config.class_weight * classes,
        "mask": config.mask_weight * focal_loss(predicted.flatten(1), wanted.flatten(1)) / count,
        "dice": config.dice_weight * dice_loss(predicted.flatten(1), wanted.flatten(1)) / count,
    }


def class_loss(
    class_logits: Float[Tensor, "b q c"],
    image: Int[Tensor, " m"],
    query: Int[Tensor, " m"],
    labels: Int[Tensor, " m"],
    no_object_weight: float,
    class_weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy, averaged over the weights of all queries of all processes.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        image: of each matched query.
        query: the matched queries; the others shall say no object.
        labels: class of each matched query.
        no_object_weight: of the queries that are not matched.
        class_weights: of those that are, by class; 1 without.
    """
    n = class_logits.shape[2] - 1
    wanted = torch.full(class_logits.shape[:2], n, device=class_logits.device)
    wanted[image, query] = labels
    weight = torch.ones(n + 1, device=class_logits.device)
    if class_weights is not None:
        weight[:n] = class_weights
    weight[n] = no_object_weight
    total = F.cross_entropy(class_logits.transpose(1, 2), wanted, weight, reduction="sum")
    return total / shared_denominator(weight[wanted].sum())


def focal_loss(mask_logits: Float[Tensor, "m p"], masks: Float[Tensor, "m p"]) -> Float[Tensor, ""]:
    """The focal loss (Lin et al., ICCV 2017), mean over the pixels, sum over the masks."""
    return sigmoid_focal_loss(mask_logits, masks, FOCAL_ALPHA, FOCAL_GAMMA).mean(dim=1).sum()


def dice_loss(mask_logits: Float[Tensor, "m p"], masks: Float[Tensor, "m p"]) -> Float[Tensor, ""]:
    """1 − the Dice coefficient of each mask, one pixel added to overlap and areas, sum over the masks."""
    probabilities = mask_logits.sigmoid()
    overlap = (probabilities * masks).sum(dim=1)
    return (1 - (2 * overlap + 1) / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)).sum()
