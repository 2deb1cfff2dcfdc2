"""The Hungarian matching of predicted and annotated segments (Carion et al., ECCV 2020; MaskFormer, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import MaskFormerConfig
from pisr_core.models.queries.structures import MaskPrediction, MaskTargets

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2
"""The focal loss's weight of pixels inside a mask, and its exponent."""


def focal_cost(mask_logits: Float[Tensor, "q p"], masks: Float[Tensor, "t p"]) -> Float[Tensor, "q t"]:
    """The focal loss of each prediction against each target, mean over the pixels."""
    inside = FOCAL_ALPHA * mask_logits.neg().sigmoid() ** FOCAL_GAMMA * F.softplus(-mask_logits)
    outside = (1 - FOCAL_ALPHA) * mask_logits.sigmoid() ** FOCAL_GAMMA * F.softplus(mask_logits)
    return ((inside - outside) @ masks.T + outside.sum(dim=1, keepdim=True)) / mask_logits.shape[1]


def dice_cost(mask_logits: Float[Tensor, "q p"], masks: Float[Tensor, "t p"]) -> Float[Tensor, "q t"]:
    """1 − the Dice coefficient of each prediction and each target, one pixel added to both areas' overlap."""
    probabilities = mask_logits.sigmoid()
    areas = probabilities.sum(dim=1)[:, None] + masks.sum(dim=1)
    return 1 - (2 * probabilities @ masks.T + 1) / (areas + 1)


def matching_cost(
    class_logits: Float[Tensor, "q c"],
    mask_logits: Float[Tensor, "q h w"],
    labels: Int[Tensor, " t"],
    masks: Float[Tensor, "t h w"],
    config: MaskFormerConfig,
) -> Float[Tensor, "q t"]:
    """What it costs to give each query each target: −P(class), focal and Dice, weighted as the losses are."""
    predicted, annotated = mask_logits.flatten(1), masks.flatten(1)
    return (
        config.mask_weight * focal_cost(predicted, annotated)
        + config.dice_weight * dice_cost(predicted, annotated)
        - config.class_weight * class_logits.softmax(dim=1)[:, labels]
    )


@torch.no_grad()
def match(
    predictions: Sequence[MaskPrediction], targets: MaskTargets, config: MaskFormerConfig
) -> Int[Tensor, "p 3 m"]:
    """The cheapest one-to-one assignment of targets to queries, for each image and each prediction by itself.

    The costs of all images and predictions go to the host together: a step waits for the device once.

    Args:
        predictions: p of them, in float32 outside autocast.
        targets: one entry for each image of the batch.
        config: weights of the costs.

    Returns:
        For each prediction m columns of (image, query, target), queries ascending within an image; targets count
        through the whole batch. An image gives as many columns as it has targets, at most one for each query.
    """
    from scipy.optimize import linear_sum_assignment  # takes long to import, for which prediction need not wait

    size = predictions[0].mask_logits.shape[2:]
    costs = []
    for image, (labels, masks) in enumerate(zip(targets.labels, targets.masks, strict=True)):
        small = F.interpolate(masks[:, None].float(), size=size, mode="nearest")[:, 0]
        costs.append(
            torch.stack(
                [matching_cost(p.class_logits[image], p.mask_logits[image], labels, small, config) for p in predictions]
            )
        )
    # scipy refuses what is not finite; the loss will not be finite either, and the trainer names the images.
    host = torch.cat([cost.flatten() for cost in costs]).nan_to_num().cpu()
    columns: list[list[np.ndarray]] = [[] for _ in predictions]
    first_target = 0
    for image, (part, cost) in enumerate(zip(host.split([cost.numel() for cost in costs]), costs, strict=True)):
        for own, matrix in zip(columns, part.view(cost.shape).numpy(), strict=True):
            query, target = linear_sum_assignment(matrix)
            own.append(np.stack((np.full_like(query, image), query, first_target + target)))
        first_target += cost.shape[2]
    matches = np.stack([np.concatenate(own, axis=1) for own in columns])
    return torch.from_numpy(matches).to(targets.labels[0].device, non_blocking=True)
