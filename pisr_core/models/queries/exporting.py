"""Query-based models as exported graphs."""

from __future__ import annotations

from collections.abc import Sequence

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
        return dict(zip(self.raw_outputs, (output.final.class_logits, output.final.mask_logits), strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Pixels to queries."""
        return merge_queries(
            raw["class_logits"], raw["mask_logits"], self.model.thing_ids, self.model.stride, self.model.merging_rule
        )


def merge_queries(
    class_logits: Float[Tensor, "b q c"],
    mask_logits: Float[Tensor, "b q h w"],
    thing_ids: Sequence[int],
    scale: int,
    rule: MergingRule,
) -> PanopticMaps:
    """`merge_masks` on masks that it enlarges itself, a few queries at a time.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        mask_logits: on the stride-4 grid.
        thing_ids: positions of the thing classes.
        scale: pixels to a cell.
        rule: what becomes a segment; masks are not weighted.
    """
    num_classes = class_logits.shape[2] - 1
    scores, classes = class_logits.softmax(dim=2).max(dim=2)
    confident = (classes != num_classes) & (scores > rule.object_mask_threshold)
    owner, inside, whole = _owners(scores.where(confident, -1.0), mask_logits, scale)
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
    scores: Float[Tensor, "b q"], mask_logits: Float[Tensor, "b q h w"], scale: int
) -> tuple[Int[Tensor, "b H W"], Bool[Tensor, "b H W"], Int[Tensor, "b q"]]:
    """Each pixel's query, that with the highest score · P(in the mask), and the queries' own masks.

    Returns:
        The query of each pixel; whether the pixel lies in that query's own mask; the pixels of each query's own mask.
    """
    b, _, h, w = mask_logits.shape
    best = mask_logits.new_full((b, scale * h, scale * w), -torch.inf)
    owner, inside, whole = torch.zeros_like(best, dtype=torch.long), torch.zeros_like(best, dtype=torch.bool), []
    for start in range(0, scores.shape[1], QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        logits = F.interpolate(mask_logits[:, part], scale_factor=scale, mode="bilinear", align_corners=False)
        masks = logits.sigmoid()
        own = masks >= 0.5
        whole.append(own.sum(dim=(2, 3)))
        value, position = (scores[:, part, None, None] * masks).max(dim=1)
        higher = value > best
        best = torch.where(higher, value, best)
        owner = torch.where(higher, position + start, owner)
        inside = torch.where(higher, own.gather(1, position[:, None])[:, 0], inside)
    return owner, inside, torch.cat(whole, dim=1)
