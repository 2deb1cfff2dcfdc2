"""Query-based models as exported graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
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
from pisr_core.models.queries.structures import MaskOutput
from pisr_core.models.resizing import STRIDE

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
        config = self.model.config.maskformer
        return merge_queries(
            raw["class_logits"],
            raw["mask_logits"],
            self.model.thing_ids,
            scale=STRIDE,
            object_mask_threshold=config.object_mask_threshold,
            overlap_threshold=config.overlap_threshold,
        )


def merge_queries(
    class_logits: Float[Tensor, "b q c"],
    mask_logits: Float[Tensor, "b q h w"],
    thing_ids: Sequence[int],
    *,
    scale: int,
    object_mask_threshold: float,
    overlap_threshold: float,
) -> PanopticMaps:
    """`merge_masks` on masks that it enlarges itself, a few queries at a time.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        mask_logits: on the stride-4 grid.
        thing_ids: positions of the thing classes.
        scale: pixels to a cell.
        object_mask_threshold: queries whose class is less probable are left out.
        overlap_threshold: a query that keeps less than this share of its own mask gives nothing.
    """
    num_classes = class_logits.shape[2] - 1
    scores, classes = class_logits.softmax(dim=2).max(dim=2)
    confident = (classes != num_classes) & (scores > object_mask_threshold)
    owner, whole = _owners(scores.where(confident, -1.0), mask_logits, scale)
    won = count(owner.flatten(1), scores.shape[1])
    # In double precision, for a query that keeps exactly the share stays.
    stays = confident & (won > 0) & (whole > 0) & (won.double() / whole.clamp(min=1) >= overlap_threshold)
    is_thing = class_table(thing_ids, num_classes + 1, classes.device)[classes]
    number = instance_numbers(classes, stays & is_thing, num_classes + 1)
    flat = owner.flatten(1)
    category = classes.where(stays, VOID).gather(1, flat).view_as(owner)
    return category, number.where(stays & is_thing, 0).gather(1, flat).view_as(owner)


def _owners(
    scores: Float[Tensor, "b q"], mask_logits: Float[Tensor, "b q h w"], scale: int
) -> tuple[Int[Tensor, "b H W"], Int[Tensor, "b q"]]:
    """The query with the highest score · P(in the mask) at each pixel, and the pixels of each query's own mask."""
    b, _, h, w = mask_logits.shape
    best = mask_logits.new_full((b, scale * h, scale * w), -torch.inf)
    owner, whole = torch.zeros_like(best, dtype=torch.long), []
    for start in range(0, scores.shape[1], QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        logits = F.interpolate(mask_logits[:, part], scale_factor=scale, mode="bilinear", align_corners=False)
        masks = logits.sigmoid()
        whole.append((masks >= 0.5).sum(dim=(2, 3)))
        value, position = (scores[:, part, None, None] * masks).max(dim=1)
        higher = value > best
        best = torch.where(higher, value, best)
        owner = torch.where(higher, position + start, owner)
    return owner, torch.cat(whole, dim=1)
