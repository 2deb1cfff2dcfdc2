"""From pixels to groups in steps whose shapes the image's size fixes: a GPU never waits for what is found.

`grouping` looks at as many centres and pixels as there are, and has to ask for their number each time.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import MergeConfig
from pisr_core.models.center_offset.merging.grouping import (
    MARGIN,
    Groups,
    distances,
    is_center,
    labels_of_groups,
    pointed,
)
from pisr_core.models.segments import segment_areas

SQUARE = 8
"""Side of the squares for which the nearest centres are looked up, pixels."""

CANDIDATES = 8
"""Most centres that may be nearest to some point of a square."""

BEYOND = 8
"""Squares on each side of the image for which they are looked up too."""

FAR = 1e6
"""Where absent centres lie, pixels: farther from every point that is looked up than any other."""


def group_pixels_fixed(
    semantic: Integer[Tensor, "H W"],
    center_heatmap: Float[Tensor, "H W"],
    offset: Float[Tensor, "2 H W"],
    thing_ids: tuple[int, ...],
    num_classes: int,
    stuff_area: int,
    config: MergeConfig,
) -> tuple[Groups, Bool[Tensor, ""]]:
    """The groups that `find_centers` and `group_pixels` give, after them absent ones without a pixel.

    Returns:
        The groups; and whether they are right. They may not be where a thing's pixel points far out of the image, or
        between more than `CANDIDATES` centres.
    """
    is_thing = _table(thing_ids, num_classes, semantic.device)
    classes = semantic.flatten().int()
    things = is_thing.index_select(0, classes)
    centers, present = fixed_centers(center_heatmap, config.center_threshold, config.nms_kernel, config.top_k)
    some = present.any()
    nearest, sure = _nearest_candidates(pointed(offset).flatten(1), centers, present, semantic.shape)
    groups = nearest.where(things & some, classes + len(centers))
    votes = segment_areas(groups * num_classes + classes, (len(centers) + num_classes) * num_classes)
    labels, areas = labels_of_groups(votes.view(-1, num_classes), is_thing, stuff_area)
    return Groups(groups.view(semantic.shape), labels, areas), (sure | ~things).all() | ~some


def fixed_centers(
    center_heatmap: Float[Tensor, "H W"], threshold: float, nms_kernel: int, top_k: int
) -> tuple[Int[Tensor, "k 2"], Bool[Tensor, " k"]]:
    """`find_centers` as exactly k rows, those that are present first, and which these are."""
    found = is_center(center_heatmap, threshold, nms_kernel).flatten()
    # Padded, for an image may have fewer than k pixels.
    scores = F.pad(center_heatmap.flatten().where(found, -1.0), (0, top_k), value=-1.0)
    values, cells = scores.topk(top_k)
    present = values > values[-1:].clamp(min=0)
    behind_all = len(scores)
    cells = cells.where(present, behind_all).sort().values
    rows = cells // center_heatmap.shape[1]
    return torch.stack((rows, cells - rows * center_heatmap.shape[1]), dim=1), cells < behind_all


def _nearest_candidates(
    points: Float[Tensor, "2 p"], centers: Int[Tensor, "k 2"], present: Bool[Tensor, " k"], size: torch.Size
) -> tuple[Int[Tensor, " p"], Bool[Tensor, " p"]]:
    """The present centre nearest to each point, the first of equals; and whether that is sure."""
    # One more that is absent, so that there is always a farthest one to leave out.
    places = F.pad(centers.to(points.dtype).where(present[:, None], FAR), (0, 0, 0, 1), value=FAR)
    rows, columns = (-(-side // SQUARE) + 2 * BEYOND for side in size)
    candidates, few = _candidates_of_squares(places, rows, columns)
    row, column = ((axis / SQUARE).floor_().add_(BEYOND) for axis in points)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)  # not where an offset is no number
    square = (row * columns + column).where(inside, 0.0).long()
    own = candidates.index_select(0, square)
    squared = (places[:, 0].take(own) - points[0, :, None]).square_()
    squared += (places[:, 1].take(own) - points[1, :, None]).square_()
    chosen = squared.sqrt_().argmin(dim=1, keepdim=True)
    return own.gather(1, chosen)[:, 0].int(), inside & few.index_select(0, square)


def _candidates_of_squares(
    places: Float[Tensor, "k 2"], rows: int, columns: int
) -> tuple[Int[Tensor, "s c"], Bool[Tensor, " s"]]:
    """For each square the centres nearest to its middle, in their order, and whether no other can be nearest in it."""
    y, x = (
        SQUARE * (torch.arange(n, device=places.device, dtype=places.dtype) - BEYOND + 0.5) for n in (rows, columns)
    )
    distance = distances(torch.cartesian_prod(y, x).T, places)
    values, index = distance.topk(min(CANDIDATES + 1, distance.shape[1]), dim=1, largest=False)
    # Anywhere in the square, either distance differs from that of its middle by half its diagonal at most.
    few = values[:, -1] - values[:, 0] > SQUARE * 2**0.5 + MARGIN
    return index[:, :-1].sort(dim=1).values, few


def _table(ids: tuple[int, ...], length: int, device: torch.device) -> Bool[Tensor, " n"]:
    """Whether each number is one of `ids`, without a copy from the host."""
    numbers, table = torch.arange(length, device=device), torch.zeros(length, dtype=torch.bool, device=device)
    for one in ids:
        table |= numbers == one
    return table
