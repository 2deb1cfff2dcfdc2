"""Panoptic-DeepLab's merging: class map + centres + offsets → panoptic map (Cheng et al., CVPR 2020, Sec. 3.2).

Positions are (y, x) in pixels of the maps given.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from pisr_core.config import MergeConfig
from pisr_core.models.center_offset.merging.fixed_grouping import group_pixels_fixed
from pisr_core.models.center_offset.merging.grouping import LABEL_DIVISOR, Groups, find_centers, group_pixels
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.exportable import VOID
from pisr_core.models.resizing import STRIDE, output_bands, to_output_size
from pisr_core.models.segments import segment_means
from pisr_core.runtime.devices.transfer import to_host
from pisr_core.structures import VOID_ID, PanopticResult, PanopticSegmentation, Segment, class_dtype


def panoptic_labels(
    semantic: Integer[Tensor, "H W"],
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
    centers = find_centers(center_heatmap, center_threshold, nms_kernel, top_k)
    groups = group_pixels(semantic, centers, offset, thing_ids, stuff_area)
    return groups.labels.index_select(0, groups.of_pixel.flatten()).view(semantic.shape)


def center_offset_panoptic(
    prediction: CenterOffsetPrediction,
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
    logits = prediction.semantic.logits[index].float()
    classes = [(band.max(dim=0), band.logsumexp(dim=0)) for band in output_bands(logits, input_size, output_size)]
    semantic = torch.cat([best.indices.to(class_dtype(len(logits))) for best, _ in classes])
    probability = torch.cat([(best.values - total).exp_() for best, total in classes])
    center = to_output_size(prediction.center_heatmap[index].float(), input_size, output_size)[0]
    offset = to_output_size(prediction.offset[index].float(), input_size, output_size)
    # Offsets are in cells of the input: to pixels of the output.
    for axis, (out, own) in enumerate(zip(output_size, input_size, strict=True)):
        offset[axis] *= STRIDE * out / own
    stuff_area = round(config.stuff_area * output_size[0] * output_size[1])
    if semantic.device.type != "cpu" and semantic.dtype == torch.uint8:  # of more classes the table of votes is large
        groups, exact = group_pixels_fixed(semantic, center, offset, thing_ids, len(logits), stuff_area, config)
        *fetched, exact = to_host(*_described(groups, probability, center), semantic, exact)
        if exact:
            return _result(*fetched, thing_ids=thing_ids)
    centers = find_centers(center, config.center_threshold, config.nms_kernel, config.top_k)
    groups = group_pixels(semantic, centers, offset, thing_ids, stuff_area)
    return _result(*to_host(*_described(groups, probability, center), semantic), thing_ids=thing_ids)


def _described(
    groups: Groups, probability: Float[Tensor, "H W"], center_heatmap: Float[Tensor, "H W"]
) -> tuple[Tensor, ...]:
    """What is said of groups: the map of their segments' ids; and of each its id, label, area, mean and highest score.

    Ids are consecutive in the order of the labels; groups without a label or a pixel have none.
    """
    labels, areas = groups.labels, groups.areas
    rows = groups.of_pixel.flatten().long()
    given = (labels != VOID) & (areas > 0)
    order = labels.where(given, torch.iinfo(labels.dtype).max).argsort(stable=True)
    ids = torch.empty_like(order).scatter_(0, order, torch.arange(1, len(order) + 1, device=order.device))
    ids = ids.where(given, VOID_ID).int()
    peak = torch.zeros(len(areas), device=rows.device).scatter_reduce_(0, rows, center_heatmap.flatten(), "amax")
    mean = segment_means(probability, groups.of_pixel, areas)
    return ids.index_select(0, rows).view(groups.of_pixel.shape), ids, labels, areas, mean, peak


def _result(
    id_map: Int[Tensor, "H W"],
    ids: Int[Tensor, " g"],
    labels: Int[Tensor, " g"],
    areas: Int[Tensor, " g"],
    mean: Float[Tensor, " g"],
    peak: Float[Tensor, " g"],
    semantic: Integer[Tensor, "H W"],
    *,
    thing_ids: tuple[int, ...],
) -> PanopticResult:
    """What `_described` says, on the host, as segments with areas and scores."""
    columns = zip(*(values.tolist() for values in (ids, labels, areas, mean, peak)), strict=True)
    segments = []
    for own, label, area, certainty, highest in sorted(columns):
        if own == VOID_ID:
            continue
        category = label // LABEL_DIVISOR
        score = certainty * min(highest, 1.0) if category in thing_ids else certainty
        segments.append(Segment(own, category, area, score=score))
    return PanopticResult(PanopticSegmentation(id_map.numpy(), tuple(segments)), semantic.numpy())
