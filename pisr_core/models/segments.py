"""From a map of segments to what is said of each."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

STEPS = 1 << 24
"""Into which a probability is divided where many are added: as many as float32 tells apart below 1."""


def segment_areas(segment: Int[Tensor, ...], segments: int) -> Int[Tensor, " s"]:
    """The pixels of each segment. Unlike `torch.bincount` it does not wait for a GPU.

    Args:
        segment: of each pixel, below `segments`.
        segments: their number.
    """
    rows = segment.flatten()
    if rows.device.type == "cpu":
        return torch.bincount(rows, minlength=segments)
    ones = torch.ones((), dtype=torch.int32, device=rows.device).expand(len(rows))
    return torch.zeros(segments, dtype=torch.int32, device=rows.device).index_add_(0, rows.long(), ones).long()


def segment_means(
    values: Float[Tensor, "H W"], segment: Int[Tensor, "H W"], areas: Int[Tensor, " s"]
) -> Float[Tensor, " s"]:
    """The mean of the pixels' values in each segment; not a number where it has none.

    Args:
        values: probabilities of each pixel.
        segment: the row of `areas` that each pixel belongs to.
        areas: pixels of each segment.
    """
    rows, flat = segment.flatten().long(), values.flatten()
    # Single precision would lose probabilities that are added to millions. The CPU adds them in double precision; other
    # devices as whole numbers, which is exact in whatever order; Apple's can neither.
    if values.device.type == "cpu":
        return torch.zeros(len(areas), dtype=torch.float64).index_add_(0, rows, flat.double()) / areas
    if values.device.type == "mps":
        return torch.zeros(len(areas), device=values.device).index_add_(0, rows, flat) / areas
    total = torch.zeros(len(areas), dtype=torch.int64, device=values.device)
    return total.index_add_(0, rows, (flat * STEPS).round().long()) / areas / STEPS
