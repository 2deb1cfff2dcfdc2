"""From first instance predictions to I, the instance maps that the relation encodes (Sec. 3.2).

Cells are those of the stride-4 grid; positions are (y, x).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.center_offset.structures import CenterOffsetPrediction
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


def centers_to_maps(
    scores: Float[Tensor, "b k"],
    centers: Int[Tensor, "b k 2"],
    offset: Float[Tensor, "b 2 h w"],
    thing: Float[Tensor, "b h w"],
    radius: float,
    stride: int = 1,
) -> Float[Tensor, "b k h w"]:
    """Footnote 2: how near each cell's predicted centre lies to each centre q, on things only.

    H_init = 1 − ‖q − (p + O(p))‖ / C, clamped to [0, 1], times the thing mask.

    Args:
        scores: of the centres; those that score 0 are absent and give empty maps.
        centers: q, cells.
        offset: O, cells.
        thing: mask or probability in [0, 1] that suppresses the background.
        radius: C, cells.
        stride: O and the mask hold every so-manieth cell of each row and column only.
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
    return (1 - distance / radius).clamp(0, 1) * thing[:, None] * present


def center_instances(
    prediction: CenterOffsetPrediction,
    things: Int[Tensor, " t"],
    k: int,
    radius: float,
    thing_mask: str = "binary",
    stride: int = 1,
) -> Float[Tensor, "b k h w"]:
    """I of Panoptic-DeepLab: top-K centres, their maps, and the thing mask that S gives.

    Args:
        prediction: S, M and O of the initial heads.
        things: positions of the thing classes, on the device: made of numbers here, they would keep it waiting.
        k: K.
        radius: C, cells.
        thing_mask: `binary`, cells whose most probable class is a thing; or `probability`, P(thing).
        stride: give every so-manieth cell of each row and column only.
    """
    probabilities = prediction.semantic.probabilities[..., ::stride, ::stride]
    if thing_mask == "binary":
        # A table, for ONNX has no `isin`.
        is_thing = probabilities.new_zeros(probabilities.shape[1]).index_fill(0, things, 1.0)
        thing = is_thing[probabilities.argmax(dim=1)]
    else:
        thing = probabilities[:, things].sum(dim=1)
    scores, centers = top_centers(prediction.center_heatmap, k)
    return centers_to_maps(scores, centers, prediction.offset[..., ::stride, ::stride], thing, radius, stride)


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
