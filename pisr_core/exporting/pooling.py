"""Adaptive average pooling for ONNX, whose own exporter fixes the cells at the size of the example."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def decompose_adaptive_pooling(maps: Float[Tensor, "*b h w"], cells: Sequence[int]) -> Float[Tensor, "*b y x"]:
    """`F.adaptive_avg_pool2d` as two products of matrices, since means along rows and columns are independent."""
    rows = _averages(maps.shape[-2], cells[0], maps)
    columns = _averages(maps.shape[-1], cells[1], maps)
    return rows @ maps @ columns.transpose(0, 1)


def _averages(length: int, cells: int, like: Tensor) -> Float[Tensor, "cells length"]:
    """The weight of each position in the mean of each cell i: that of ⌊i·l/c⌋ … ⌈(i+1)·l/c⌉ − 1."""
    cell = torch.arange(cells, device=like.device)
    start = cell * length // cells
    end = ((cell + 1) * length + cells - 1) // cells
    position = torch.arange(length, device=like.device)
    inside = (position >= start[:, None]) & (position < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None]
