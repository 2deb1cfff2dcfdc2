"""From first instance predictions to I, the instance maps that the relation encodes (Sec. 3.2).

Cells are those of the stride-4 grid; positions are (y, x).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import RelationConfig
from pisr_core.models.center_offset.structures import CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.models.partition import partitioned
from pisr_core.models.stage_maps import NO_CLASS


def top_centers(center_heatmap: Float[Tensor, "b 1 h w"], k: int) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k 2"]]:
    """The k most confident peaks of M: 3×3 non-maximum suppression and no threshold (Sec. 3.3 leaves that to ω).

    Returns:
        Scores in descending order, 0 where there are fewer than k peaks; and the peaks' cells (y, x).
    """
    heatmap = center_heatmap.detach().squeeze(1)
    peaks = F.max_pool2d(heatmap, kernel_size=3, stride=1, padding=1) == heatmap
    scores, cells = heatmap.where(peaks, torch.zeros_like(heatmap)).flatten(1).topk(min(k, heatmap[0].numel()))
    width = heatmap.shape[-1]
    rows = cells // width
    return scores.clamp(min=0), torch.stack((rows, cells - rows * width), dim=-1)


def confident_centers(
    center_heatmap: Float[Tensor, "b 1 h w"], k: int, least: float
) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k 2"]]:
    """`top_centers`, of which those that score less than `least` count as absent."""
    scores, centers = top_centers(center_heatmap, k)
    return scores.where(scores >= least, torch.zeros_like(scores)), centers


def centers_to_maps(
    scores: Float[Tensor, "b k"],
    centers: Int[Tensor, "b k 2"],
    offset: Float[Tensor, "b 2 h w"],
    thing: Float[Tensor, "b h w"],
    radius: float,
    stride: int = 1,
    unit: str = "cells",
) -> Float[Tensor, "b k h w"]:
    """Footnote 2: how near each cell's predicted centre lies to each centre q, on things only.

    H_init = 1 − ‖q − (p + O(p))‖ / C, clamped to [0, 1], times the thing mask.

    Args:
        scores: of the centres; those that score 0 are absent and give empty maps.
        centers: q, cells.
        offset: O, cells.
        thing: mask or probability in [0, 1] that suppresses the background.
        radius: C.
        stride: O and the mask hold every so-manieth cell of each row and column only.
        unit: of C: `cells`, or `extent`, the radius of a disc with as many thing cells as point to the centre rather
            than to another one.
    """
    h, w = offset.shape[-2:]
    rows = torch.arange(h, device=offset.device, dtype=torch.float32) * stride
    columns = torch.arange(w, device=offset.device, dtype=torch.float32) * stride
    pointed_y = offset[:, 0].float() + rows[:, None]
    pointed_x = offset[:, 1].float() + columns
    q = centers.float()[..., None, None]
    squared = (q[:, :, 0] - pointed_y[:, None]) ** 2 + (q[:, :, 1] - pointed_x[:, None]) ** 2
    # The floor keeps the gradient at distance zero at zero; `vector_norm` does as well, ten times as slowly.
    distance = squared.clamp(min=1e-30).sqrt()
    present = (scores > 0)[..., None, None]
    relative = distance / radius
    if unit == "extent":
        relative = relative / _extents(distance.where(present, torch.inf), thing, stride)[..., None, None]
    return (1 - relative).clamp(0, 1) * thing[:, None] * present


def _extents(distance: Float[Tensor, "b k h w"], thing: Float[Tensor, "b h w"], stride: int) -> Float[Tensor, "b k"]:
    """Radii of discs, of at least one cell, with as many thing cells as lie nearest to each centre, cells."""
    if not distance.shape[1]:
        return distance.new_zeros(distance.shape[:2])
    owner = distance.detach().argmin(dim=1).flatten(1)
    cells = distance.new_zeros(distance.shape[:2]).scatter_add(1, owner, thing.detach().to(distance.dtype).flatten(1))
    return (cells.clamp(min=1) * stride**2 / torch.pi).sqrt()


def center_instances(
    prediction: CenterOffsetPrediction, things: Int[Tensor, " t"], k: int, config: RelationConfig, stride: int = 1
) -> Float[Tensor, "b k h w"]:
    """I of Panoptic-DeepLab: top-K centres, their maps, and the thing mask that S gives.

    Args:
        prediction: S, M and O of the initial heads.
        things: positions of the thing classes, on the device: made of numbers here, they would keep it waiting.
        k: K.
        config: C, the thing mask, and what keeps instances apart.
        stride: give every so-manieth cell of each row and column only.
    """
    probabilities = prediction.semantic.probabilities[..., ::stride, ::stride]
    if config.thing_mask == "binary":
        # A table, for ONNX has no `isin`.
        is_thing = probabilities.new_zeros(probabilities.shape[1]).index_fill(0, things, 1.0)
        thing = is_thing[probabilities.argmax(dim=1)]
    else:
        thing = probabilities[:, things].sum(dim=1)
    scores, centers = confident_centers(prediction.center_heatmap, k, config.instance_score)
    offset = prediction.offset[..., ::stride, ::stride]
    maps = centers_to_maps(scores, centers, offset, thing, config.instance_radius, stride, config.radius_unit)
    return partitioned(maps, config.partition, config.temperature)


def what_is_there(
    prediction: CenterOffsetPrediction, targets: CenterOffsetTargets, m: int, config: RelationConfig
) -> tuple[Bool[Tensor, "b m"], Bool[Tensor, "b m"]]:
    """Which of the n classes and k instances that the relation encodes are there, and which of these m = n + k count.

    Absent centres do not count. A centre is real if it lies where the target's Gaussian is at least a half, and no
    more confident one belongs to the same instance.
    """
    n = prediction.semantic.logits.shape[1]
    classes = torch.arange(n, device=targets.semantic.device)
    present = (targets.semantic.flatten(1)[:, None] == classes[:, None]).any(dim=2)
    scores, centers = confident_centers(prediction.center_heatmap, m - n, config.instance_score)
    stride = targets.offset.shape[-1] // prediction.offset.shape[-1]
    pixels = centers * stride + stride // 2
    image = torch.arange(len(pixels), device=pixels.device)[:, None]
    near = targets.center[image, 0, pixels[..., 0], pixels[..., 1]] >= 0.5
    true_centers = (pixels + targets.offset[image, :, pixels[..., 0], pixels[..., 1]]).round()
    same = (true_centers[:, :, None] == true_centers[:, None]).all(dim=3) & near[:, None]
    repeated = same.tril(diagonal=-1).any(dim=2)
    real = torch.cat((present, near & ~repeated), dim=1)
    return real, torch.cat((torch.ones_like(present), scores > 0), dim=1)


def majority_classes(
    instances: Float[Tensor, "k h w"], probabilities: Float[Tensor, "n h w"], things: Int[Tensor, " t"]
) -> Int[Tensor, " k"]:
    """The thing class of which each instance's map holds most, `NO_CLASS` for empty maps.

    Args:
        instances: I.
        probabilities: S.
        things: positions of the thing classes.
    """
    if not len(instances):
        return torch.zeros(0, dtype=torch.long, device=instances.device)
    votes = instances.flatten(1) @ probabilities[things].flatten(1).T
    return things[votes.argmax(dim=1)].where(votes.amax(dim=1) > 0, NO_CLASS)
