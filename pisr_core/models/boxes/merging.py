"""Panoptic FPN's merging: stuff map + detections → panoptic map (Kirillov et al., CVPR 2019, Sec. 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from pisr_core.config import Config
from pisr_core.models.boxes.instances import paste_masks
from pisr_core.models.boxes.structures import Detections
from pisr_core.models.resizing import to_output_size
from pisr_core.models.segments import segment_areas, segment_means
from pisr_core.runtime.devices.transfer import to_host
from pisr_core.structures import VOID_ID, PanopticResult, PanopticSegmentation, Segment, ignore_index

Placed = tuple[tuple[slice, slice], Tensor]
"""An instance's rows and columns of the image, and a mask of them, Bool[Tensor, "rows columns"]."""


def stack_instances(
    instances: Iterable[Placed], size: tuple[int, int], overlap: float, device: torch.device
) -> tuple[Int[Tensor, "H W"], Bool[Tensor, " k"]]:
    """Lays instances beneath each other, the first on top. Memory and time go with each one's window, not the image.

    Args:
        instances: the most confident first; each is let go before the next is asked for.
        size: (H, W) of the image.
        overlap: an instance of which those above hide a larger share is left out.
        device: where the masks are.

    Returns:
        The segment of each pixel, from 1 in the order of the instances that stay, and which these are.
    """
    ids = torch.zeros(size, dtype=torch.int32, device=device)
    count = torch.zeros((), dtype=torch.int32, device=device)
    stays = []
    for window, mask in instances:
        below = ids[window]
        free = mask & (below == VOID_ID)
        area, seen = mask.sum(), free.sum()
        # In double precision, for a share that equals the threshold stays.
        stays.append((area > 0) & ((area - seen).double() / area <= overlap))
        count = count + stays[-1]
        ids[window] = torch.where(free & stays[-1], count, below)
    return ids, torch.stack(stays) if stays else torch.zeros(0, dtype=torch.bool, device=device)


def merge_fpn(
    semantic: Int[Tensor, "H W"],
    instances: Iterable[Placed],
    *,
    labels: int,
    overlap: float,
    stuff_area: int,
) -> tuple[Int[Tensor, "H W"], Bool[Tensor, " k"], Bool[Tensor, " n"]]:
    """The panoptic map: instances by descending score on top of the stuff.

    Args:
        semantic: 0 for things, else the stuff label of each pixel.
        instances: at the result's size, the most confident first.
        labels: n, of the stuff and of all things together.
        overlap: an instance of which better ones hide a larger share is left out.
        stuff_area: stuff of which fewer pixels are visible is void.

    Returns:
        The segment of each pixel, numbered from 1, or `VOID_ID`; which instances the first ids stand for; and which
        stuff labels the ids that follow.
    """
    ids, kept = stack_instances(instances, (semantic.shape[0], semantic.shape[1]), overlap, semantic.device)
    free = ids == VOID_ID
    visible = segment_areas(semantic.where(free, labels), labels + 1)[:labels]
    stuff = (visible >= max(stuff_area, 1)) & (torch.arange(labels, device=ids.device) > 0)
    segment_of = (kept.sum() + stuff.cumsum(0)).where(stuff, VOID_ID).int()
    return torch.where(free, segment_of[semantic.long()], ids), kept, stuff


def fpn_panoptic(
    logits: Float[Tensor, "n h w"],
    detections: Detections,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    thing_ids: Sequence[int],
    stuff_ids: Sequence[int],
    config: Config,
) -> PanopticResult:
    """The panoptic map of one image.

    A thing's score is its detection's, that of stuff its mean probability. The class map before merging does not
    exist here, for the semantic branch knows no thing classes: it is the panoptic map, with the most probable stuff
    where that is void.

    A GPU is waited for twice: for the places of the boxes, and for what is made of them.

    Args:
        logits: of all things together and of the stuff classes, stride 4.
        detections: boxes in pixels of the padded input.
        input_size: (H, W) of the image without padding.
        output_size: (H, W) of the result.
        thing_ids: positions of the thing classes.
        stuff_ids: positions of the stuff classes.
        config: thresholds; the smallest stuff is a share of the output's pixels.
    """
    logits = to_output_size(logits.float(), input_size, output_size)
    confidence, semantic = logits.max(dim=0)
    probability = (confidence - logits.logsumexp(dim=0)).exp()
    best_stuff = logits[1:].argmax(dim=0).int() if stuff_ids else torch.zeros_like(semantic)
    boxes, scores, labels = to_host(detections.boxes, detections.scores, detections.labels)
    order = confident_first(scores, config.fpn.merge_threshold)
    ids, kept, stuff = merge_fpn(
        semantic,
        map(placement(detections.masks, boxes, input_size, output_size), order),
        labels=1 + len(stuff_ids),
        overlap=config.fpn.merge_overlap,
        stuff_area=round(config.merge.stuff_area * semantic.numel()),
    )
    areas = segment_areas(ids, 1 + len(order) + len(stuff))
    mean = segment_means(probability, ids, areas)
    ids, kept, stuff, areas, mean, best_stuff = to_host(ids, kept, stuff, areas, mean, best_stuff)
    chosen = [found for found, stays in zip(order, kept.tolist(), strict=True) if stays]
    shown = stuff.nonzero().flatten().tolist()
    classes = [thing_ids[label] for label in labels[chosen].tolist()] + [stuff_ids[label - 1] for label in shown]
    certainty = scores[chosen].tolist() + mean[1 + len(chosen) :].tolist()
    segments = tuple(
        Segment(number, category, area, score=score)
        for number, (category, area, score) in enumerate(zip(classes, areas[1:].tolist(), certainty, strict=False), 1)
    )
    panoptic = PanopticSegmentation(ids.numpy(), segments)
    return PanopticResult(panoptic, _class_map(panoptic, best_stuff.numpy(), thing_ids, stuff_ids))


def confident_first(scores: Float[Tensor, " k"], threshold: float) -> list[int]:
    """The positions of the scores that reach the threshold, in descending order."""
    order = scores.argsort(descending=True, stable=True)
    return order[scores[order].double() >= threshold].tolist()


def placement(
    masks: Float[Tensor, "k m m"],
    boxes: Float[Tensor, "k 4"],
    input_size: tuple[int, int],
    output_size: tuple[int, int],
) -> Callable[[int], Placed]:
    """What gives the binary mask of a detection at the output's size: of all at once, K×H×W would not fit.

    Args:
        masks: of the detections, on the device.
        boxes: of the detections, on the host.
        input_size: (H, W) of the image that the boxes lie in.
        output_size: (H, W) of the result.
    """
    scale = [out / own for out, own in zip(output_size, input_size, strict=True)]
    boxes = boxes * boxes.new_tensor([scale[1], scale[0]] * 2)
    # A pixel more on each side, for the edges are rounded; beyond the box a mask is below one half.
    first, last = boxes[:, :2].floor() - 1, boxes[:, 2:].ceil() + 1
    limits = boxes.new_tensor(output_size[::-1])
    edges = torch.cat((first.clamp(min=0).minimum(limits), last.clamp(min=0).minimum(limits)), dim=1)
    windows = edges.long().tolist()
    there = boxes.to(masks.device, non_blocking=True)

    def place(detection: int) -> Placed:
        left, top, right, bottom = windows[detection]
        window = slice(top, max(bottom, top)), slice(left, max(right, left))
        chosen = slice(detection, detection + 1)
        return window, paste_masks(masks[chosen], there[chosen], output_size, window)[0] >= 0.5

    return place


def _class_map(
    panoptic: PanopticSegmentation,
    best_stuff: Integer[np.ndarray, "H W"],
    thing_ids: Sequence[int],
    stuff_ids: Sequence[int],
) -> Integer[np.ndarray, "H W"]:
    num_classes = len(thing_ids) + len(stuff_ids)
    classes = panoptic.semantic(num_classes)
    if not stuff_ids:
        return classes
    stuff = np.array(stuff_ids, dtype=classes.dtype)[best_stuff]
    return np.where(classes == ignore_index(num_classes), stuff, classes)
