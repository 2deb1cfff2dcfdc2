"""Query-based models as exported graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.exportable import (
    VOID,
    ExportableNetwork,
    PanopticMaps,
    class_table,
    count,
    instance_numbers,
)
from pisr_core.models.queries.merging import MergingRule
from pisr_core.models.queries.structures import MaskOutput

Enlarge = Callable[[Float[Tensor, "b q h w"]], Float[Tensor, "b q H W"]]

QUERIES_AT_ONCE = 10
"""Queries whose masks exist at full size at once."""


class MaskNetwork(ExportableNetwork):
    """Classes and masks of the final stage's queries, or what their merging gives."""

    raw_outputs = {
        "class_logits": "(batch, queries, classes + 1) float32: the last class stands for no object",
        "mask_logits": "(batch, queries, height / 4, width / 4) float32: of the sigmoid",
    }

    def raw(self, output: MaskOutput) -> dict[str, Tensor]:
        """Classes and masks of the queries."""
        return dict(zip(type(self).raw_outputs, (output.final.class_logits, output.final.mask_logits), strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Pixels to queries."""
        return merge_queries(
            raw["class_logits"], raw["mask_logits"], self.model.thing_ids, self.full_masks, self.model.merging_rule
        )

    def full_masks(self, mask_logits: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q H W"]:
        """P(in the mask) at the images' size."""
        return F.interpolate(
            mask_logits, scale_factor=self.model.stride, mode="bilinear", align_corners=False
        ).sigmoid()


def merge_queries(
    class_logits: Float[Tensor, "b q c"],
    mask_logits: Float[Tensor, "b q h w"],
    thing_ids: Sequence[int],
    enlarge: Enlarge,
    rule: MergingRule,
) -> PanopticMaps:
    """`merge_masks` on masks that it enlarges itself, a few queries at a time.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        mask_logits: on the network's grid.
        thing_ids: positions of the thing classes.
        enlarge: gives P(in the mask) at the images' size.
        rule: what becomes a segment.
    """
    num_classes = class_logits.shape[2] - 1
    scores, classes = class_logits.softmax(dim=2).max(dim=2)
    confident = (classes != num_classes) & (scores > rule.object_mask_threshold)
    owner, inside, whole = _owners(scores.where(confident, -1.0), mask_logits, enlarge, rule.weighted_masks)
    queries = scores.shape[1]
    won = count(owner.flatten(1), queries)
    kept = count(owner.where(inside, queries).flatten(1), queries + 1)[:, :-1] if rule.own_pixels else won
    # In double precision, for a query that keeps exactly the share stays.
    share = won.double() / whole.clamp(min=1)
    stays = confident & (kept > 0) & (whole > 0) & (share >= rule.overlap_threshold)
    is_thing = class_table(thing_ids, num_classes + 1, classes.device)[classes]
    number = instance_numbers(classes, stays & is_thing, num_classes + 1)
    flat = owner.flatten(1)
    category = classes.where(stays, VOID).gather(1, flat).view_as(owner)
    number = number.where(stays & is_thing, 0).gather(1, flat).view_as(owner)
    if rule.own_pixels:
        category, number = category.where(inside, VOID), number.where(inside, 0)
    return category, number


def _owners(
    scores: Float[Tensor, "b q"], mask_logits: Float[Tensor, "b q h w"], enlarge: Enlarge, weighted_masks: bool
) -> tuple[Int[Tensor, "b H W"], Bool[Tensor, "b H W"], Int[Tensor, "b q"]]:
    """Each pixel's query, that with the highest score · P(in the mask), and the queries' own masks.

    Returns:
        The query of each pixel; whether the pixel lies in that query's own mask; the pixels of each query's own mask.
    """

    def part(start: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        queries = slice(start, start + QUERIES_AT_ONCE)
        masks = enlarge(mask_logits[:, queries])
        weighted = scores[:, queries, None, None] * masks
        own = (weighted if weighted_masks else masks) >= 0.5
        value, position = weighted.max(dim=1)
        return value, position + start, own.gather(1, position[:, None])[:, 0], own.sum(dim=(2, 3))

    parts = map(part, range(0, scores.shape[1], QUERIES_AT_ONCE))
    best, owner, inside, first = next(parts)
    whole = [first]
    for value, position, own, pixels in parts:
        higher = value > best
        best = torch.where(higher, value, best)
        owner = torch.where(higher, position, owner)
        inside = torch.where(higher, own, inside)
        whole.append(pixels)
    return owner, inside, torch.cat(whole, dim=1)
