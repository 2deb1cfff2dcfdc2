"""Centre-offset models as exported graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import MergeConfig
from pisr_core.models.center_offset.structures import CenterOffsetOutput
from pisr_core.models.exportable import (
    VOID,
    ExportableNetwork,
    PanopticMaps,
    class_table,
    count,
    enlarge,
    instance_numbers,
)
from pisr_core.models.resizing import STRIDE

CENTERS_AT_ONCE = 8
"""Centres whose distances to all pixels exist at once."""


class CenterOffsetNetwork(ExportableNetwork):
    """S, M and O of the final stage, or what their merging gives.

    Args:
        model: the model, in evaluation mode, on the CPU.
        merging: give the panoptic map.
        pool_window: (height, width) in pixels of the image that the decoder's pooling sees, empty for the whole image.
    """

    raw_outputs = {
        "semantic_logits": "(batch, classes, height / 4, width / 4) float32",
        "center_heatmap": "(batch, 1, height / 4, width / 4) float32: about 0 to 1",
        "offset": "(batch, 2, height / 4, width / 4) float32: (y, x) to the instance's centre, cells of 4 pixels",
    }

    def __init__(self, model: Any, merging: bool, pool_window: tuple[int, ...] = ()) -> None:
        super().__init__(model, merging)
        self.pool_window = pool_window

    @property
    def smallest(self) -> int:
        """Enough cells for the relation's K centres: with fewer of them `torch.export` traces another graph."""
        return max(2, math.ceil(4 * math.sqrt(self.model.config.relation.top_k) / self.model.size_divisor))

    def free_range(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Sides up to the pooling window or beyond it, as `size` is: `torch.export` traces another graph there."""
        sides, divisor = super().free_range(size), self.model.size_divisor
        ranges = []
        for length, (low, high), window in zip(size, sides, self.pool_window or size, strict=True):
            within = window // divisor * divisor
            ranges.append((low, min(within, high)) if length <= within else (max(low, within + divisor), high))
        return (ranges[0], ranges[1]) if self.pool_window else sides

    def raw(self, output: CenterOffsetOutput) -> dict[str, Tensor]:
        """S, M and O."""
        final = output.final
        values = (final.semantic.logits, final.center_heatmap, final.offset)
        return dict(zip(type(self).raw_outputs, values, strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Pixels to centres."""
        logits, center, offset = (enlarge(raw[name]) for name in type(self).raw_outputs)
        model = self.model
        semantic = logits.argmax(dim=1)
        return merge_centers(
            semantic, center[:, 0], STRIDE * offset, model.thing_ids, len(model.categories), model.config.merge
        )


def merge_centers(
    semantic: Int[Tensor, "b H W"],
    center_heatmap: Float[Tensor, "b H W"],
    offset: Float[Tensor, "b 2 H W"],
    thing_ids: Sequence[int],
    num_classes: int,
    config: MergeConfig,
) -> PanopticMaps:
    """`panoptic_labels`, with exactly `config.top_k` centres of which some may be absent.

    Args:
        semantic: class of each pixel.
        center_heatmap: M.
        offset: O, pixels.
        thing_ids: positions of the thing classes.
        num_classes: n.
        config: thresholds; the smallest stuff is a share of the map's pixels.
    """
    stuff_areas = count(semantic.flatten(1), num_classes)
    smallest = torch.round(config.stuff_area * stuff_areas.sum(dim=1, keepdim=True).double())
    if not thing_ids:
        return _keep_large(semantic, stuff_areas >= smallest), torch.zeros_like(semantic)
    is_thing = class_table(thing_ids, num_classes, semantic.device)[semantic]
    centers, present = fixed_centers(center_heatmap, config.center_threshold, config.nms_kernel, config.top_k)
    instance = nearest_centers(offset, centers, present).flatten(1)
    votes = count(instance * num_classes + semantic.flatten(1), config.top_k * num_classes, is_thing.flatten(1))
    votes = votes.unflatten(1, (config.top_k, num_classes))
    winner = votes.argmax(dim=2)
    number = instance_numbers(winner, votes.sum(dim=2) > 0, num_classes)
    found = is_thing & present.any(dim=1)[:, None, None]
    thing = winner.gather(1, instance).view_as(semantic).where(found, VOID)
    stuff = _keep_large(semantic, stuff_areas >= smallest)
    return torch.where(is_thing, thing, stuff), number.gather(1, instance).view_as(semantic).where(found, 0)


def fixed_centers(
    center_heatmap: Float[Tensor, "b H W"], threshold: float, nms_kernel: int, top_k: int
) -> tuple[Int[Tensor, "b k 2"], Bool[Tensor, "b k"]]:
    """`find_centers` as exactly k rows: the centres in row-major order, then the absent ones."""
    heatmap = F.threshold(center_heatmap, threshold, -1.0)
    pooled = F.max_pool2d(heatmap, nms_kernel, stride=1, padding=nms_kernel // 2)
    # Padded, for an image may have fewer than k pixels.
    scores = F.pad(torch.where(heatmap == pooled, heatmap, -1.0).flatten(1), (0, top_k), value=-1.0)
    values, cells = scores.topk(top_k)
    present = values > values[:, -1:].clamp(min=0)
    behind_all = scores.shape[1]
    cells = cells.where(present, behind_all).sort(dim=1).values
    width = center_heatmap.shape[2]
    rows = cells // width
    return torch.stack((rows, cells - rows * width), dim=2), cells < behind_all


def nearest_centers(
    offset: Float[Tensor, "b 2 H W"], centers: Int[Tensor, "b k 2"], present: Bool[Tensor, "b k"]
) -> Int[Tensor, "b H W"]:
    """`group_pixels` for every pixel: the present centre nearest to where its offset points; the first of equals."""
    h, w = offset.shape[2:]
    pointed_y = offset[:, 0] + torch.arange(h, device=offset.device)[:, None]
    pointed_x = offset[:, 1] + torch.arange(w, device=offset.device)
    best = torch.full_like(pointed_y, torch.inf)
    nearest = torch.zeros_like(pointed_y, dtype=torch.long)
    for start in range(0, centers.shape[1], CENTERS_AT_ONCE):
        part = slice(start, start + CENTERS_AT_ONCE)
        y, x = centers[:, part].to(offset.dtype)[..., None, None].unbind(2)
        distance = ((y - pointed_y[:, None]).square() + (x - pointed_x[:, None]).square()).sqrt()
        distance, position = distance.where(present[:, part, None, None], torch.inf).min(dim=1)
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        nearest = torch.where(nearer, position + start, nearest)
    return nearest


def _keep_large(semantic: Int[Tensor, "b H W"], large: Bool[Tensor, "b n"]) -> Int[Tensor, "b H W"]:
    """The classes of those that are large enough, else `VOID`."""
    return semantic.where(large.gather(1, semantic.flatten(1)).view_as(semantic), VOID)
