"""MaskFormer's inference: classes and masks of queries → class map and panoptic map (NeurIPS 2021, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pisr_core.config import MaskFormerConfig
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.models.resizing import output_bands
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


def merge_masks(
    class_logits: Float[Tensor, "q c"],
    mask_logits: Float[Tensor, "q H W"],
    thing_ids: tuple[int, ...],
    *,
    object_mask_threshold: float,
    overlap_threshold: float,
) -> PanopticSegmentation:
    """The panoptic map: each pixel goes to the query with the highest P(class) · P(in the mask).

    A query that keeps less than a share of its own mask gives nothing, its pixels are void. Stuff of one class is
    one segment. A segment's score is the class probability of its query, the highest where several share it.

    Args:
        class_logits: of c = n + 1 classes, the last for no object.
        mask_logits: at the result's size.
        thing_ids: positions of the thing classes.
        object_mask_threshold: queries whose class is less probable are left out.
        overlap_threshold: the share.
    """
    return _merge_bands(class_logits, [mask_logits], thing_ids, object_mask_threshold, overlap_threshold)


def _merge_bands(
    class_logits: Float[Tensor, "q c"],
    bands: Iterable[Float[Tensor, "q _ W"]],
    thing_ids: tuple[int, ...],
    object_mask_threshold: float,
    overlap_threshold: float,
) -> PanopticSegmentation:
    """`merge_masks` of masks that come some rows at a time, from top to bottom."""
    scores, classes = class_logits.softmax(dim=1).max(dim=1)
    confident = ((classes != class_logits.shape[1] - 1) & (scores > object_mask_threshold)).nonzero().squeeze(1)
    scores, classes = scores[confident], classes[confident]
    whole = torch.zeros_like(classes)
    owners = []
    for band in bands:
        if not len(scores):
            owners.append(torch.zeros(band.shape[1:], dtype=torch.long))
            continue
        masks = band.index_select(0, confident).sigmoid()
        whole += (masks >= 0.5).sum(dim=(1, 2))
        owners.append((scores[:, None, None] * masks).argmax(dim=0))
    owner = torch.cat(owners)
    if not len(scores):
        return PanopticSegmentation(np.full(owner.shape, VOID_ID, dtype=np.int32), ())
    won = owner.flatten().bincount(minlength=len(scores))
    # In double precision, for a query that keeps exactly the share stays.
    stays = (won > 0) & (whole > 0) & (won.double() / whole >= overlap_threshold)
    ids, segments = _segments(
        classes.where(stays, DROPPED).tolist(), won.tolist(), scores.tolist(), frozenset(thing_ids)
    )
    return PanopticSegmentation(np.array(ids, dtype=np.int32)[owner.cpu().numpy()], segments)


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
    prediction: MaskPrediction,
    index: int,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    thing_ids: tuple[int, ...],
    config: MaskFormerConfig,
) -> PanopticResult:
    """The panoptic map of one image of a batch: masks are upsampled, cropped and brought to the output's size.

    Args:
        prediction: the final stage's.
        index: of the image in the batch.
        input_size: (H, W) of the image without padding.
        output_size: (H, W) of the result.
        thing_ids: positions of the thing classes.
        config: thresholds.
    """
    class_logits = prediction.class_logits[index].float()
    dtype = class_dtype(class_logits.shape[1] - 1)
    classes: list[Tensor] = []

    def bands() -> Iterator[Float[Tensor, "q _ W"]]:
        for band in output_bands(prediction.mask_logits[index].float(), input_size, output_size):
            classes.append(semantic_inference(class_logits, band).argmax(dim=0).to(dtype))
            yield band

    thresholds = config.object_mask_threshold, config.overlap_threshold
    panoptic = _merge_bands(class_logits, bands(), thing_ids, *thresholds)
    return PanopticResult(panoptic, torch.cat(classes).cpu().numpy())
