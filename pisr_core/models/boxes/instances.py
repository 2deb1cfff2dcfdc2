"""From detections to I, the instance maps that the relation encodes (Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import RelationConfig
from pisr_core.models.boxes.structures import Detections
from pisr_core.models.partition import partitioned


def paste_masks(
    masks: Float[Tensor, "k m m"],
    boxes: Float[Tensor, "k 4"],
    size: tuple[int, int],
    window: tuple[slice, slice] | None = None,
) -> Float[Tensor, "k H W"]:
    """Masks at their places in the image: sampled bilinearly within their boxes, zero outside.

    Bilinear weights along rows and columns are independent, so that the whole is two products of matrices.

    Args:
        masks: values on a grid that fills the box.
        boxes: (x1, y1, x2, y2), cells of the result; they may reach beyond it.
        size: (H, W) of the result.
        window: rows and columns of it that are wanted; else all.
    """
    left, top, right, bottom = boxes.unbind(1)
    rows, columns = window or (slice(0, size[0]), slice(0, size[1]))
    along_y = _sampling(top, bottom, rows, masks.shape[1])
    along_x = _sampling(left, right, columns, masks.shape[2])
    return along_y @ masks @ along_x.transpose(1, 2)


def _sampling(
    start: Float[Tensor, " k"], end: Float[Tensor, " k"], places: slice, cells: int
) -> Float[Tensor, "k length m"]:
    """Along one axis, the bilinear weight of each of a mask's cells at each position of the image."""
    centers = torch.arange(places.start, places.stop, device=start.device, dtype=start.dtype) + 0.5
    position = (centers - start[:, None]) / (end - start)[:, None].clamp(min=1e-6) * cells - 0.5
    grid = torch.arange(cells, device=start.device, dtype=start.dtype)
    return (1 - (position[:, :, None] - grid).abs()).clamp(min=0)


def box_instances(
    detections: Sequence[Detections], config: RelationConfig, size: tuple[int, int], stride: int = 4
) -> Float[Tensor, "b k h w"]:
    """I of box-based models: the k most confident detections' pasted masks × their scores.

    Args:
        detections: of each image.
        config: K, where there are fewer detections the other maps are zero; and what keeps instances apart.
        size: (h, w) of the grid.
        stride: pixels a cell.
    """
    k, maps = config.top_k, []
    for found in detections:
        scores = found.scores[:k].where(found.scores[:k] >= config.instance_score, found.scores.new_zeros(()))
        pasted = paste_masks(found.masks[:k], found.boxes[:k] / stride, size) * scores[:, None, None]
        maps.append(F.pad(pasted, (0, 0, 0, 0, 0, k - len(pasted))))
    return partitioned(torch.stack(maps), config.partition, config.temperature)
