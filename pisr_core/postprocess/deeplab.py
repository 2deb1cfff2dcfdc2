"""Panoptic-DeepLab's merging: class map + centres + offsets → panoptic map (Cheng et al., CVPR 2020, Sec. 3.2).

Positions are (y, x) in pixels of the maps given.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import MergeConfig
from pisr_core.postprocess.resizing import STRIDE, to_output_size
from pisr_core.structures import DeepLabPrediction, PanopticResult, PanopticSegmentation, Segment

VOID = -1
"""Label of pixels without a confident prediction."""

LABEL_DIVISOR = 1000
"""A label is class · divisor + instance; instances of a class count from 1, stuff is 0."""

CHUNK = 1 << 20
"""Most distances between pixels and centres that exist at once."""


def find_centers(
    center_heatmap: Float[Tensor, "H W"], threshold: float, nms_kernel: int, top_k: int
) -> Int[Tensor, "k 2"]:
    """Peaks of the centre heatmap above the threshold, in row-major order.

    As in the public code, of more than `top_k` peaks those strictly above the `top_k`-th highest score stay.
    """
    heatmap = F.threshold(center_heatmap, threshold, -1.0)
    pooled = F.max_pool2d(heatmap[None], nms_kernel, stride=1, padding=nms_kernel // 2)[0]
    heatmap = torch.where(heatmap == pooled, heatmap, -1.0)
    scores = heatmap.flatten()
    kth = scores.topk(min(top_k, scores.numel()), sorted=True).values[-1]
    return torch.nonzero(heatmap > kth.clamp(min=0))


def group_pixels(
    pixels: Int[Tensor, "p 2"], offset: Float[Tensor, "2 H W"], centers: Int[Tensor, "k 2"]
) -> Int[Tensor, " p"]:
    """For each pixel the index of the centre nearest to where its offset points; the first of equals.

    Runs in chunks of pixels, so that no table of all distances at image size exists.
    """
    y, x = pixels.unbind(1)
    pointed_y, pointed_x = y + offset[0, y, x], x + offset[1, y, x]
    center_y, center_x = centers.to(offset.dtype).unbind(1)
    nearest = torch.empty(len(pixels), dtype=torch.long, device=pixels.device)
    step = max(1, CHUNK // len(centers))
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        distance = (center_y - pointed_y[part, None]).square_()
        distance += (center_x - pointed_x[part, None]).square_()
        nearest[part] = distance.sqrt_().argmin(dim=1)
    return nearest


def merge_deeplab(
    semantic: Int[Tensor, "H W"],
    center_heatmap: Float[Tensor, "H W"],
    offset: Float[Tensor, "2 H W"],
    thing_ids: tuple[int, ...],
    *,
    center_threshold: float,
    nms_kernel: int,
    top_k: int,
    stuff_area: int,
) -> Int[Tensor, "H W"]:
    """The panoptic label of each pixel: class · `LABEL_DIVISOR` + instance, or `VOID`.

    Thing pixels go to the nearest centre; an instance takes the class that most of its pixels have; stuff below
    `stuff_area` pixels, and things where there is no centre, are void.

    Args:
        semantic: class of each pixel.
        center_heatmap: M.
        offset: O, pixels.
        thing_ids: positions of the thing classes.
        center_threshold: lowest score of a centre.
        nms_kernel: window within which a centre is the highest, pixels; odd.
        top_k: most centres.
        stuff_area: pixels.
    """
    semantic = semantic.long()
    things = torch.isin(semantic, torch.tensor(thing_ids, dtype=torch.long, device=semantic.device))
    labels = _stuff_labels(semantic, ~things, stuff_area)
    centers = find_centers(center_heatmap, center_threshold, nms_kernel, top_k)
    if len(centers):
        pixels = things.nonzero()
        instance = group_pixels(pixels, offset, centers)
        labels[things] = _thing_labels(semantic[things], instance, len(centers))
    return labels


def _stuff_labels(semantic: Int[Tensor, "H W"], is_stuff: Bool[Tensor, "H W"], stuff_area: int) -> Int[Tensor, "H W"]:
    classes = semantic[is_stuff]
    areas = torch.bincount(classes)
    labels = torch.full_like(semantic, VOID)
    labels[is_stuff] = torch.where(areas[classes] >= stuff_area, classes * LABEL_DIVISOR, VOID)
    return labels


def _thing_labels(classes: Int[Tensor, " p"], instance: Int[Tensor, " p"], num_instances: int) -> Int[Tensor, " p"]:
    """Labels of thing pixels from their own class and their instance, by majority vote (ties: lower class)."""
    n = int(classes.max()) + 1 if len(classes) else 1
    votes = torch.bincount(instance * n + classes, minlength=num_instances * n).view(num_instances, n)
    winner = votes.argmax(dim=1)
    # Instances are numbered within their class, those without a pixel left out.
    member = F.one_hot(winner, n) * (votes.sum(dim=1, keepdim=True) > 0)
    number = (member.cumsum(dim=0) * member).sum(dim=1)
    return (winner * LABEL_DIVISOR + number)[instance]


def deeplab_panoptic(
    prediction: DeepLabPrediction,
    index: int,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    thing_ids: tuple[int, ...],
    config: MergeConfig,
) -> PanopticResult:
    """The panoptic map of one image of a batch.

    The maps are upsampled to the padded input, cropped, and brought to the output's size (offsets with it); each
    segment's score is its mean class probability, for things times the highest value of M within it.

    Args:
        prediction: the final stage's.
        index: of the image in the batch.
        input_size: (H, W) of the image without padding.
        output_size: (H, W) of the result.
        thing_ids: positions of the thing classes.
        config: thresholds; the smallest stuff is a share of the output's pixels.
    """
    logits, center, offset = (
        to_output_size(maps[index].float(), input_size, output_size)
        for maps in (prediction.semantic.logits, prediction.center_heatmap, prediction.offset)
    )
    center = center[0]
    # Offsets are in cells of the input: to pixels of the output.
    scale = [STRIDE * out / own for out, own in zip(output_size, input_size, strict=True)]
    offset = offset * offset.new_tensor(scale).view(2, 1, 1)
    confidence, semantic = logits.max(dim=0)
    labels = merge_deeplab(
        semantic,
        center,
        offset,
        thing_ids,
        center_threshold=config.center_threshold,
        nms_kernel=config.nms_kernel,
        top_k=config.top_k,
        stuff_area=round(config.stuff_area * output_size[0] * output_size[1]),
    )
    probability = (confidence - logits.logsumexp(dim=0)).exp()
    return PanopticResult(
        panoptic=_segmentation(labels, probability, center, thing_ids),
        semantic=semantic.to(torch.uint8).cpu().numpy(),
    )


def _segmentation(
    labels: Int[Tensor, "H W"],
    probability: Float[Tensor, "H W"],
    center_heatmap: Float[Tensor, "H W"],
    thing_ids: tuple[int, ...],
) -> PanopticSegmentation:
    """Labels as consecutive segment ids with areas and scores."""
    present, ids = labels.flatten().unique(return_inverse=True)
    areas = torch.bincount(ids, minlength=len(present))
    mean = torch.zeros_like(areas, dtype=probability.dtype).index_add_(0, ids, probability.flatten()) / areas
    peak = torch.zeros_like(mean).scatter_reduce_(0, ids, center_heatmap.flatten(), "amax")
    first = int((present[:1] == VOID).sum())
    segments = []
    for position, (label, area, p, m) in enumerate(
        zip(present.tolist(), areas.tolist(), mean.tolist(), peak.tolist(), strict=True)
    ):
        if label == VOID:
            continue
        category = label // LABEL_DIVISOR
        score = p * min(m, 1.0) if category in thing_ids else p
        segments.append(Segment(position + 1 - first, category, area, score=score))
    host = (ids + 1 - first).view(labels.shape).to(torch.int32).cpu().numpy()
    return PanopticSegmentation(host, tuple(segments))
