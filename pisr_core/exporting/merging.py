"""The mergings of `pisr_core.postprocess` with shapes that do not depend on values, as an exported graph needs them.

They give the same maps, for a whole batch at once. A map is a pair: the class of each pixel, `VOID` where there is
none, and the number of its instance, from 1 within each class and 0 for stuff and void.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import Config, MergeConfig
from pisr_core.models.boxes.instances import paste_masks
from pisr_core.models.boxes.structures import Detections
from pisr_core.models.center_offset.merging import VOID

CENTERS_AT_ONCE = 8
"""Centres whose distances to all pixels exist at once."""

QUERIES_AT_ONCE = 10
"""Queries whose masks exist at full size at once."""

PanopticMaps = tuple[Int[Tensor, "b H W"], Int[Tensor, "b H W"]]


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
    stuff_areas = _count(semantic.flatten(1), num_classes)
    smallest = torch.round(config.stuff_area * stuff_areas.sum(dim=1, keepdim=True).double())
    if not thing_ids:
        return _keep_large(semantic, stuff_areas >= smallest), torch.zeros_like(semantic)
    is_thing = class_table(thing_ids, num_classes, semantic.device)[semantic]
    centers, present = fixed_centers(center_heatmap, config.center_threshold, config.nms_kernel, config.top_k)
    instance = nearest_centers(offset, centers, present).flatten(1)
    votes = _count(instance * num_classes + semantic.flatten(1), config.top_k * num_classes, is_thing.flatten(1))
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
    won = _count(owner.flatten(1), scores.shape[1])
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


def merge_boxes(
    semantic: Int[Tensor, "b H W"],
    detections: Sequence[Detections],
    thing_ids: Sequence[int],
    stuff_ids: Sequence[int],
    config: Config,
) -> PanopticMaps:
    """`merge_fpn`, with a fixed number of detections of which some may be absent, that is, score 0.

    Args:
        semantic: 0 for things, else 1 + position among the stuff classes.
        detections: of each image, the most confident first; boxes in pixels of the map.
        thing_ids: positions of the thing classes.
        stuff_ids: positions of the stuff classes.
        config: thresholds; the smallest stuff is a share of the map's pixels.
    """
    scores, labels, boxes, masks = (
        torch.stack([getattr(found, name) for found in detections]) for name in ("scores", "labels", "boxes", "masks")
    )
    owner, stays = _stack(
        masks, boxes, scores.double() >= config.fpn.merge_threshold, semantic, config.fpn.merge_overlap
    )
    classes = torch.tensor((*thing_ids, VOID), device=labels.device)[labels]
    number = instance_numbers(labels, stays, len(thing_ids))
    free = owner == scores.shape[1]
    # A last row for the pixels without an instance.
    category = F.pad(classes, (0, 1)).gather(1, owner.flatten(1)).view_as(owner)
    instance = F.pad(number, (0, 1)).gather(1, owner.flatten(1)).view_as(owner)
    areas = _count(semantic.flatten(1), 1 + len(stuff_ids), free.flatten(1))
    pixels = _count(semantic.flatten(1), 1 + len(stuff_ids)).sum(dim=1, keepdim=True)
    visible = areas >= torch.round(config.merge.stuff_area * pixels.double()).clamp(min=1)
    stuff = torch.tensor((VOID, *stuff_ids), device=labels.device)[semantic]
    stuff = stuff.where(visible.gather(1, semantic.flatten(1)).view_as(semantic), VOID)
    return torch.where(free, stuff, category), instance.where(~free, 0)


def _stack(
    masks: Float[Tensor, "b k m m"],
    boxes: Float[Tensor, "b k 4"],
    confident: Bool[Tensor, "b k"],
    like: Int[Tensor, "b H W"],
    overlap: float,
) -> tuple[Int[Tensor, "b H W"], Bool[Tensor, "b k"]]:
    """`stack_instances`, pasting one mask at a time: the detection of each pixel (k for none), and which ones stay."""
    k, size = masks.shape[1], (like.shape[1], like.shape[2])
    owner, stays = torch.full_like(like, k), []
    for position in range(k):
        mask = paste_masks(masks[:, position], boxes[:, position], size) >= 0.5
        area, hidden = mask.sum(dim=(1, 2)), (mask & (owner < k)).sum(dim=(1, 2))
        # In double precision, for a share that equals the threshold stays.
        stays.append(confident[:, position] & (area > 0) & (hidden.double() / area.clamp(min=1) <= overlap))
        owner = torch.where(mask & (owner == k) & stays[-1][:, None, None], position, owner)
    return owner, torch.stack(stays, dim=1)


def class_table(ids: Sequence[int], num_classes: int, device: torch.device) -> Bool[Tensor, " n"]:
    """Whether each class is one of `ids`: looked up, for ONNX has no `isin`."""
    return torch.tensor([index in ids for index in range(num_classes)], device=device)


def instance_numbers(classes: Int[Tensor, "b k"], present: Bool[Tensor, "b k"], num_classes: int) -> Int[Tensor, "b k"]:
    """The rank of each instance among those of its class that are present, from 1 on."""
    member = F.one_hot(classes, num_classes) * present[..., None]
    return (member.cumsum(dim=1) * member).sum(dim=2)


def _keep_large(semantic: Int[Tensor, "b H W"], large: Bool[Tensor, "b n"]) -> Int[Tensor, "b H W"]:
    """The classes of those that are large enough, else `VOID`."""
    return semantic.where(large.gather(1, semantic.flatten(1)).view_as(semantic), VOID)


def _count(values: Int[Tensor, "b p"], length: int, mask: Bool[Tensor, "b p"] | None = None) -> Int[Tensor, "b l"]:
    """How often each of 0 … length − 1 occurs (where the mask is true)."""
    ones = torch.ones_like(values) if mask is None else mask.to(values.dtype)
    return torch.zeros(values.shape[0], length, dtype=values.dtype, device=values.device).scatter_add(1, values, ones)
