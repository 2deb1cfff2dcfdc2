"""From pixels to groups: the centres of a heatmap, and which of them each pixel belongs to (Cheng et al., Sec. 3.2).

Positions are (y, x) in pixels of the maps given. Here everything is as short as what is found; see `fixed_grouping` for
devices that should not wait for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.exportable import VOID

LABEL_DIVISOR = 1000
"""A label is class · divisor + instance; instances of a class count from 1, stuff is 0."""

SQUARE = 16
"""Side of the squares for which the nearest centre is looked up, pixels."""

MARGIN = 0.01
"""Pixels by which one centre must be nearer than all others to be looked up; far above rounding."""

CPU_CHUNK, CHUNK = 1 << 18, 1 << 25
"""Most distances that exist at once: on the CPU they stay in the cache; other devices want few kernels."""


@dataclass(frozen=True)
class Groups:
    """Pixels that share a label: first the instances, then the classes (stuff, and things without any centre).

    Attributes:
        of_pixel: the group of each pixel.
        labels: of each group; `VOID` where it gives no segment.
        areas: of each group, pixels.
    """

    of_pixel: Int[Tensor, "H W"]
    labels: Int[Tensor, " g"]
    areas: Int[Tensor, " g"]


def find_centers(
    center_heatmap: Float[Tensor, "H W"], threshold: float, nms_kernel: int, top_k: int
) -> Int[Tensor, "k 2"]:
    """Peaks of the centre heatmap above the threshold, in row-major order.

    As in the public code, of `top_k` peaks or more those strictly above the `top_k`-th highest score stay.
    """
    cells = is_center(center_heatmap, threshold, nms_kernel).flatten().nonzero().squeeze(1)
    if len(cells) >= top_k:
        scores = center_heatmap.flatten()[cells]
        cells = cells[scores > scores.topk(top_k).values[-1]]
    rows = cells // center_heatmap.shape[1]
    return torch.stack((rows, cells - rows * center_heatmap.shape[1]), dim=1)


def is_center(center_heatmap: Float[Tensor, "H W"], threshold: float, nms_kernel: int) -> Bool[Tensor, "H W"]:
    """Whether each pixel is above the threshold and the highest within its window."""
    is_peak = center_heatmap == _window_max(_window_max(center_heatmap, nms_kernel, 0), nms_kernel, 1)
    return is_peak & (center_heatmap > max(threshold, 0.0))


def _window_max(maps: Float[Tensor, "H W"], window: int, dim: int) -> Float[Tensor, "H W"]:
    """The highest value within a window along one axis, from maxima of windows that double in length.

    On the CPU many times as fast as torch's pooling, which compares value by value.
    """
    margin = window // 2
    highest = F.pad(maps, (0, 0, margin, margin) if dim == 0 else (margin, margin), value=-torch.inf)
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        length = highest.shape[dim] - step
        highest = torch.maximum(highest.narrow(dim, 0, length), highest.narrow(dim, step, length))
        covered += step
    return highest


def nearest_centers(
    points: Float[Tensor, "2 p"], centers: Int[Tensor, "k 2"], size: tuple[int, int]
) -> Int[Tensor, " p"]:
    """The index of the centre nearest to each point, the first of equals; the same as from all distances.

    Most points lie in a square of the image to which one centre is nearest, wherever in it: that is looked up. Only
    the others, and those outside the image, are compared with every centre.

    Args:
        points: (y, x), where pixels point to.
        centers: one or more.
        size: (H, W) of the image.
    """
    centers = centers.to(points.dtype)
    table = F.pad(_nearest_to_squares(centers, size).int(), (1, 1, 1, 1), value=-1)  # with a border for all outside
    row, column = ((points[axis] / SQUARE).floor_().clamp_(-1, table.shape[axis] - 2) for axis in (0, 1))
    square = row.add_(1).mul_(table.shape[1]).add_(column).add_(1).int().clamp_(min=0)  # if an offset is no number
    nearest = table.flatten().index_select(0, square)
    unknown = (nearest < 0).nonzero().squeeze(1)
    for part in _chunks(unknown, len(centers)):
        nearest[part] = distances(points[:, part], centers).argmin(dim=1).int()
    return nearest


def _nearest_to_squares(centers: Float[Tensor, "k 2"], size: tuple[int, int]) -> Int[Tensor, "rows columns"]:
    """The centre nearest to all points of each square of the image; -1 where that is not a single one."""
    rows, columns = (-(-side // SQUARE) for side in size)
    y, x = (SQUARE * (torch.arange(n, device=centers.device, dtype=centers.dtype) + 0.5) for n in (rows, columns))
    nearest = []
    for middles in _chunks(torch.cartesian_prod(y, x), len(centers)):
        distance = distances(middles.T, centers)
        first, index = distance.min(dim=1)
        second = distance.scatter_(1, index[:, None], torch.inf).amin(dim=1)
        # Anywhere in the square, either distance differs from that of its middle by half its diagonal at most.
        nearest.append(index.where(second - first > SQUARE * 2**0.5 + MARGIN, -1))
    return torch.cat(nearest).view(rows, columns)


def _chunks(rows: Tensor, num_centers: int) -> tuple[Tensor, ...]:
    values = CPU_CHUNK if rows.device.type == "cpu" else CHUNK
    return rows.split(max(1, values // num_centers))


def distances(points: Float[Tensor, "2 p"], centers: Float[Tensor, "k 2"]) -> Float[Tensor, "p k"]:
    """From each point to each centre."""
    squared = (centers[:, 0] - points[0, :, None]).square_()
    squared += (centers[:, 1] - points[1, :, None]).square_()
    return squared.sqrt_()


def group_pixels(
    semantic: Integer[Tensor, "H W"],
    centers: Int[Tensor, "k 2"],
    offset: Float[Tensor, "2 H W"],
    thing_ids: tuple[int, ...],
    stuff_area: int,
) -> Groups:
    """What `panoptic_labels` makes of centres that are found, before each pixel is given its label."""
    classes = semantic.flatten().int()
    n = max(int(classes.max()), *thing_ids, 0) + 1
    is_thing = torch.zeros(n, dtype=torch.bool, device=classes.device)
    is_thing[list(thing_ids)] = True
    groups = classes + len(centers)
    if len(centers):
        things = is_thing.index_select(0, classes).nonzero().squeeze(1)
        points = pointed(offset).flatten(1).index_select(1, things)
        nearest = nearest_centers(points, centers, (semantic.shape[0], semantic.shape[1]))
        groups.index_copy_(0, things, nearest)
    votes = torch.bincount(groups * n + classes, minlength=(len(centers) + n) * n).view(-1, n)
    labels, areas = labels_of_groups(votes, is_thing, stuff_area)
    return Groups(groups.view(semantic.shape), labels, areas)


def labels_of_groups(
    votes: Int[Tensor, "g n"], is_thing: Bool[Tensor, " n"], stuff_area: int
) -> tuple[Int[Tensor, " g"], Int[Tensor, " g"]]:
    """Labels and areas of all groups.

    Args:
        votes: pixels of each class in each group, the instances before the classes.
        is_thing: of the classes.
        stuff_area: pixels below which stuff is void.
    """
    n = votes.shape[1]
    areas = votes.sum(dim=1)
    stays = ~is_thing & (areas[-n:] >= stuff_area)
    stuff_labels = (torch.arange(n, device=votes.device) * LABEL_DIVISOR).where(stays, VOID)
    return torch.cat((_instance_labels(votes[:-n]), stuff_labels)), areas


def pointed(offset: Float[Tensor, "2 H W"]) -> Float[Tensor, "2 H W"]:
    """Where each pixel points to: its position plus its offset."""
    height, width = offset.shape[1:]
    rows = torch.arange(height, device=offset.device, dtype=offset.dtype)
    columns = torch.arange(width, device=offset.device, dtype=offset.dtype)
    return torch.stack((offset[0] + rows[:, None], offset[1] + columns))


def _instance_labels(votes: Int[Tensor, "k n"]) -> Int[Tensor, " k"]:
    """Labels from the pixels of each class in each instance, by majority (ties: lower class)."""
    winner = votes.argmax(dim=1)
    # Instances are numbered within their class, those without a pixel left out.
    member = F.one_hot(winner, votes.shape[1]) * (votes.sum(dim=1, keepdim=True) > 0)
    number = (member.cumsum(dim=0) * member).sum(dim=1)
    return winner * LABEL_DIVISOR + number
