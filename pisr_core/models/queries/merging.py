"""MaskFormer's inference: classes and masks of queries → class map and panoptic map (NeurIPS 2021, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pisr_core.structures import VOID_ID, PanopticResult, PanopticSegmentation, Segment, class_dtype

DROPPED = -1
"""Class of queries that give no segment."""


def semantic_inference(
    class_logits: Float[Tensor, "*b q c"], mask_logits: Float[Tensor, "*b q h w"]
) -> Float[Tensor, "*b n h w"]:
    """For each cell and class the sum over queries of P(class) · P(in the mask): 0 or more, no distribution.

    Args:
        class_logits: of c = n + 1 classes, the last for no object, which is left out.
        mask_logits: of the queries' masks.
    """
    probabilities = class_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("...qn,...qhw->...nhw", probabilities, mask_logits.sigmoid()).float()


@dataclass(frozen=True)
class MergingRule:
    """How queries become segments.

    Attributes:
        object_mask_threshold: queries whose class is less probable are left out.
        overlap_threshold: a query that keeps less than this share of its own mask gives nothing.
        own_pixels: a segment lies within its query's own mask (Mask2Former, EoMT); else pixels that no mask claims go
            to the query that comes nearest to it (MaskFormer).
        weighted_masks: a query's own mask is where P(class) · P(in the mask) reaches 0.5 (`transformers`); else where
            P(in the mask) does.
    """

    object_mask_threshold: float
    overlap_threshold: float
    own_pixels: bool = False
    weighted_masks: bool = False


def merge_masks(
    class_logits: Float[Tensor, "q c"],
    mask_logits: Float[Tensor, "q H W"],
    thing_ids: tuple[int, ...],
    rule: MergingRule,
) -> PanopticSegmentation:
    """The panoptic map: each pixel goes to the query with the highest P(class) · P(in the mask).

    A query that keeps less than a share of its own mask gives nothing, its pixels are void. Stuff of one class is
    one segment. A segment's score is the class probability of its query, the highest where several share it.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        mask_logits: at the result's size.
        thing_ids: positions of the thing classes.
        rule: what becomes a segment.
    """
    return _merge_bands(class_logits, [mask_logits.sigmoid()], thing_ids, rule)


def _merge_bands(
    class_logits: Float[Tensor, "q c"],
    bands: Iterable[Float[Tensor, "q _ W"]],
    thing_ids: tuple[int, ...],
    rule: MergingRule,
) -> PanopticSegmentation:
    """`merge_masks` of P(in the mask) that comes some rows at a time, from top to bottom."""
    scores, classes = class_logits.softmax(dim=1).max(dim=1)
    no_object = classes == class_logits.shape[1] - 1
    confident = (~no_object & (scores > rule.object_mask_threshold)).nonzero().squeeze(1)
    scores, classes = scores[confident], classes[confident]
    whole = torch.zeros_like(classes)
    owners, insides = [], []
    for band in bands:
        if not len(scores):
            owners.append(torch.zeros(band.shape[1:], dtype=torch.long))
            continue
        masks = band.index_select(0, confident)
        weighted = scores[:, None, None] * masks
        own = (weighted if rule.weighted_masks else masks) >= 0.5
        whole += own.sum(dim=(1, 2))
        owners.append(weighted.argmax(dim=0))
        if rule.own_pixels:
            insides.append(own.gather(0, owners[-1][None])[0])
    owner = torch.cat(owners)
    if not len(scores):
        return PanopticSegmentation(np.full(owner.shape, VOID_ID, dtype=np.int32), ())
    won = owner.flatten().bincount(minlength=len(scores))
    kept = owner[torch.cat(insides)].bincount(minlength=len(scores)) if rule.own_pixels else won
    # In double precision, for a query that keeps exactly the share stays.
    stays = (kept > 0) & (whole > 0) & (won.double() / whole >= rule.overlap_threshold)
    ids, segments = _segments(
        classes.where(stays, DROPPED).tolist(), kept.tolist(), scores.tolist(), frozenset(thing_ids)
    )
    panoptic = np.array(ids, dtype=np.int32)[owner.cpu().numpy()]
    if rule.own_pixels:
        panoptic[~torch.cat(insides).cpu().numpy()] = VOID_ID
    return PanopticSegmentation(panoptic, segments)


def _segments(
    classes: list[int], areas: list[int], scores: list[float], thing_ids: frozenset[int]
) -> tuple[list[int], tuple[Segment, ...]]:
    """The segment id of each query, and the segments; queries of one stuff class share theirs."""
    ids: list[int] = []
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for category, area, score in zip(classes, areas, scores, strict=True):
        if category == DROPPED:
            ids.append(VOID_ID)
            continue
        own = stuff.get(category, len(segments) + 1)
        ids.append(own)
        if own <= len(segments):
            first = segments[own - 1]
            segments[own - 1] = replace(first, area=first.area + area, score=max(first.score, score))
            continue
        segments.append(Segment(own, category, area, score=score))
        if category not in thing_ids:
            stuff[category] = own
    return ids, tuple(segments)


def mask_panoptic(
    class_logits: Float[Tensor, "q c"],
    bands: Iterable[Float[Tensor, "q _ W"]],
    thing_ids: tuple[int, ...],
    rule: MergingRule,
) -> PanopticResult:
    """The panoptic map and the class map of one image.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        bands: P(in the mask) at the result's size, some rows at a time, from top to bottom.
        thing_ids: positions of the thing classes.
        rule: what becomes a segment.
    """
    class_logits = class_logits.float()
    probabilities = class_logits.softmax(dim=1)[:, :-1]
    dtype = class_dtype(probabilities.shape[1])
    classes: list[Tensor] = []

    def watched() -> Iterator[Float[Tensor, "q _ W"]]:
        for band in bands:
            classes.append(torch.einsum("qn,qhw->nhw", probabilities, band).argmax(dim=0).to(dtype))
            yield band

    panoptic = _merge_bands(class_logits, watched(), thing_ids, rule)
    return PanopticResult(panoptic, torch.cat(classes).cpu().numpy())
