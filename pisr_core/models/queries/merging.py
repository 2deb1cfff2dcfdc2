"""MaskFormer's inference: classes and masks of queries → class map and panoptic map (NeurIPS 2021, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pisr_core.models.segments import segment_areas
from pisr_core.runtime.devices.transfer import to_host
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
        first_thing_id: of ids that last through a film: the first query's thing has it, the next query's the next one,
            and stuff has 1 + its class. `None`: the segments are counted.
    """

    object_mask_threshold: float
    overlap_threshold: float
    own_pixels: bool = False
    weighted_masks: bool = False
    first_thing_id: int | None = None


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
    return _merged(*to_host(*_owners(class_logits, [mask_logits.sigmoid()], rule)), thing_ids=thing_ids, rule=rule)


def _owners(
    class_logits: Float[Tensor, "q c"], bands: Iterable[Float[Tensor, "q _ W"]], rule: MergingRule
) -> tuple[Tensor, ...]:
    """What the host makes segments of, from P(in the mask) that comes some rows at a time, from top to bottom.

    Returns:
        The query that each pixel shows, or their number for none; and of each query its place among all, its class,
        its score, whether it is confident, and the pixels that it wins, that show it, and that its own mask has.
    """
    scores, classes = class_logits.softmax(dim=1).max(dim=1)
    confident = (classes != class_logits.shape[1] - 1) & (scores > rule.object_mask_threshold)
    if class_logits.device.type == "cpu":  # others' masks need no looking at; a GPU would wait for the queries' number
        queries = confident.nonzero().squeeze(1)
        scores, classes, confident = scores[queries], classes[queries], confident[queries]
    else:
        queries = torch.arange(len(scores), device=scores.device)
    q, whole = len(queries), torch.zeros_like(classes)
    owners, shown = [], []
    for band in bands:
        if not q:
            shown.append(torch.zeros(band.shape[1:], dtype=torch.int32))
            continue
        masks = band.index_select(0, queries)
        weighted = (scores[:, None, None] * masks).masked_fill_(~confident[:, None, None], -1.0)
        own = (weighted if rule.weighted_masks else masks) >= 0.5
        whole += own.sum(dim=(1, 2))
        owner = weighted.argmax(dim=0)
        owners.append(owner.int())
        shown.append(owner.where(own.gather(0, owner[None])[0], q).int() if rule.own_pixels else owners[-1])
    seen = torch.cat(shown)
    kept = segment_areas(seen, q + 1)[:q]
    won = segment_areas(torch.cat(owners), q) if q and rule.own_pixels else kept
    return seen, queries, classes, scores, confident, won, kept, whole


def _merged(
    seen: Int[Tensor, "H W"],
    queries: Int[Tensor, " q"],
    classes: Int[Tensor, " q"],
    scores: Float[Tensor, " q"],
    confident: Bool[Tensor, " q"],
    won: Int[Tensor, " q"],
    kept: Int[Tensor, " q"],
    whole: Int[Tensor, " q"],
    *,
    thing_ids: tuple[int, ...],
    rule: MergingRule,
) -> PanopticSegmentation:
    """The panoptic map from what `_owners` gives, on the host."""
    # In double precision, for a query that keeps exactly the share stays.
    stays = confident & (kept > 0) & (whole > 0) & (won.double() / whole >= rule.overlap_threshold)
    ids, segments = _segments(
        queries.tolist(),
        classes.where(stays, DROPPED).tolist(),
        kept.tolist(),
        scores.tolist(),
        frozenset(thing_ids),
        rule.first_thing_id,
    )
    return PanopticSegmentation(np.array([*ids, VOID_ID], dtype=np.int32)[seen.numpy()], segments)


def _segments(
    queries: list[int],
    classes: list[int],
    areas: list[int],
    scores: list[float],
    thing_ids: frozenset[int],
    first_thing_id: int | None,
) -> tuple[list[int], tuple[Segment, ...]]:
    """The segment id of each query, and the segments; queries of one stuff class share theirs."""
    ids: list[int] = []
    segments: dict[int, Segment] = {}
    stuff: dict[int, int] = {}
    for query, category, area, score in zip(queries, classes, areas, scores, strict=True):
        if category == DROPPED:
            ids.append(VOID_ID)
            continue
        thing, next_id = category in thing_ids, len(segments) + 1
        if first_thing_id is None:
            own = next_id if thing else stuff.setdefault(category, next_id)
        else:
            own = first_thing_id + query if thing else 1 + category
        ids.append(own)
        first = segments.get(own, Segment(own, category, 0, score=score))
        segments[own] = replace(first, area=first.area + area, score=max(first.score, score))
    return ids, tuple(segments.values())


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

    owners = _owners(class_logits, watched(), rule)
    *fetched, semantic = to_host(*owners, torch.cat(classes))
    return PanopticResult(_merged(*fetched, thing_ids=thing_ids, rule=rule), semantic.numpy())
