"""Panoptic FPN's proposals and detections with a fixed number of rows, for `torch.export` cannot trace torchvision's.

The networks, the boxes' codes, suppression and RoIAlign are torchvision's; what is replaced here is the bookkeeping in
between, whose lists are as long as the boxes that are left. Absent rows have a score of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image, nms, roi_align
from torchvision.ops.poolers import LevelMapper

from pisr_core.models.boxes.pyramid import LEVELS
from pisr_core.models.boxes.regions import BOX_CELLS, MASK_CELLS, ProposalNetwork, RegionHeads
from pisr_core.models.boxes.structures import Detections

STRIDES = (4, 8, 16, 32)
"""Pixels to a cell of the levels that boxes are read from."""

SMALLEST_PROPOSAL, SMALLEST_DETECTION = 1e-3, 1e-2
"""Sides in pixels of the boxes that torchvision drops."""

Pyramid = Mapping[str, Float[Tensor, "b c _ _"]]


def fixed_proposals(
    proposals: ProposalNetwork, pyramid: Pyramid, size: tuple[int, int]
) -> tuple[Float[Tensor, "b p 4"], Float[Tensor, "b p"]]:
    """Boxes that may hold an instance, the best first, and their scores.

    Args:
        proposals: the region proposal network.
        pyramid: its levels.
        size: (H, W) of the images.
    """
    network, levels = proposals.network, list(pyramid.values())
    wanted = network.post_nms_top_n()
    objectness, deltas = network.head(levels)
    counts = [maps.shape[1] * maps.shape[2] * maps.shape[3] for maps in objectness]
    flat_objectness, flat_deltas = concat_box_prediction_layers(objectness, deltas)
    batch = levels[0].shape[0]
    scores = flat_objectness.view(batch, -1)
    flat_deltas = flat_deltas.view(batch, -1, 4)
    anchors = _anchors(network.anchor_generator, levels, size)
    found = []
    for image in range(batch):
        boxes, probabilities, start = [], [], 0
        for count in counts:
            part = slice(start, start + count)
            top, index = scores[image, part].topk(min(network.pre_nms_top_n(), count))
            decoded = network.box_coder.decode_single(flat_deltas[image, part][index], anchors[part][index])
            kept, probability = _suppress(decoded, top.sigmoid(), size, network.nms_thresh, SMALLEST_PROPOSAL)
            boxes.append(kept)
            probabilities.append(probability)
            start = start + count
        found.append(_top(torch.cat(boxes), torch.cat(probabilities), wanted)[:2])
    return torch.stack([boxes for boxes, _ in found]), torch.stack([score for _, score in found])


def fixed_detections(
    regions: RegionHeads,
    pyramid: Pyramid,
    proposals: Float[Tensor, "b p 4"],
    present: Float[Tensor, "b p"],
    size: tuple[int, int],
) -> tuple[Detections, ...]:
    """Each image's detections, exactly `detections_per_img` of them.

    Args:
        regions: the box and mask heads.
        pyramid: the levels that they read.
        proposals: from `fixed_proposals`.
        present: their scores.
        size: (H, W) of the images.
    """
    heads = regions.heads
    read = heads.box_head(_pool(pyramid, proposals, BOX_CELLS))
    logits, deltas = heads.box_predictor(read)
    probabilities = logits.softmax(dim=1).view(*proposals.shape[:2], -1)
    decoded = heads.box_coder.decode_single(deltas, proposals.flatten(0, 1))
    decoded = decoded.view(*proposals.shape[:2], -1, 4)
    found = []
    for image in range(proposals.shape[0]):
        candidates = (probabilities[image] * (present[image] > 0)[:, None])[:, 1:].flatten()
        found.append(_detect(decoded[image, :, 1:].flatten(0, 1), candidates, probabilities.shape[2] - 1, heads, size))
    boxes, scores, labels = (torch.stack(column) for column in zip(*found, strict=True))
    masks = _masks(regions, pyramid, boxes, labels)
    return tuple(map(Detections, boxes, scores, labels, masks))


def _detect(
    boxes: Float[Tensor, "m 4"],
    scores: Float[Tensor, " m"],
    num_things: int,
    heads: RoIHeads,
    size: tuple[int, int],
) -> tuple[Float[Tensor, "k 4"], Float[Tensor, " k"], Int[Tensor, " k"]]:
    """The most confident boxes of one image, suppressed within each class.

    Only those above the score threshold are suppressed, as there are as many boxes as proposals times classes. Boxes
    of different classes are moved apart by more than the image is long, as torchvision does it.
    """
    chosen = (scores > heads.score_thresh).nonzero().flatten()
    labels = chosen % num_things
    boxes, scores = clip_boxes_to_image(boxes[chosen], size), scores[chosen]
    apart = (labels * (max(size) + 1)).to(boxes.dtype)[:, None]
    kept = nms(boxes + apart, scores, heads.nms_thresh)
    survives = torch.zeros_like(scores).index_fill(0, kept, 1.0) * _large(boxes, SMALLEST_DETECTION)
    boxes, scores, order = _top(boxes, scores * survives, heads.detections_per_img)
    return boxes, scores, F.pad(labels, (0, heads.detections_per_img))[order]


def _suppress(
    boxes: Float[Tensor, "m 4"], scores: Float[Tensor, " m"], size: tuple[int, int], threshold: float, smallest: float
) -> tuple[Float[Tensor, "m 4"], Float[Tensor, " m"]]:
    """Boxes within the image, and their scores, 0 for those that a better one covers or that are too small."""
    boxes = clip_boxes_to_image(boxes, size)
    kept = nms(boxes, scores, threshold)
    return boxes, scores * torch.zeros_like(scores).index_fill(0, kept, 1.0) * _large(boxes, smallest)


def _top(
    boxes: Float[Tensor, "m 4"], scores: Float[Tensor, " m"], count: int
) -> tuple[Float[Tensor, "k 4"], Float[Tensor, " k"], Int[Tensor, " k"]]:
    """The k best, filled up with zeros; and their rows."""
    scores, rows = F.pad(scores, (0, count)).topk(count)
    return F.pad(boxes, (0, 0, 0, count))[rows], scores, rows


def _large(boxes: Float[Tensor, "m 4"], smallest: float) -> Float[Tensor, " m"]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides >= smallest).all(dim=1).to(boxes.dtype)


def _anchors(
    generator: AnchorGenerator, levels: Sequence[Float[Tensor, "b c _ _"]], size: tuple[int, int]
) -> Float[Tensor, "a 4"]:
    """All levels' anchors; torchvision's own call makes constants of the strides."""
    grids = [[maps.shape[2], maps.shape[3]] for maps in levels]
    strides = [[length // cells for length, cells in zip(size, grid, strict=True)] for grid in grids]
    return torch.cat(generator.grid_anchors(grids, strides))


def _pool(pyramid: Pyramid, boxes: Float[Tensor, "b k 4"], cells: int) -> Float[Tensor, "bk c cells cells"]:
    """RoIAlign of every box on every level, of which each keeps its own: the number of boxes a level has no bound."""
    flat = boxes.flatten(0, 1)
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(boxes.shape[:2]).flatten()
    rois = torch.cat((image[:, None].to(flat.dtype), flat), dim=1)
    level = LevelMapper(2, 5)([flat])[:, None, None, None]
    pooled = torch.zeros(1)
    for index, (name, stride) in enumerate(zip(LEVELS, STRIDES, strict=True)):
        found = roi_align(pyramid[name], rois, (cells, cells), 1 / stride, sampling_ratio=2)
        pooled = torch.where(level == index, found, pooled)
    return pooled


def _masks(
    regions: RegionHeads, pyramid: Pyramid, boxes: Float[Tensor, "b k 4"], labels: Int[Tensor, "b k"]
) -> Float[Tensor, "b k m m"]:
    logits = regions.heads.mask_predictor(regions.heads.mask_head(_pool(pyramid, boxes, MASK_CELLS)))
    own = torch.arange(logits.shape[0], device=logits.device)
    return logits[own, labels.flatten() + 1].sigmoid().unflatten(0, tuple(boxes.shape[:2]))
