"""From a map of segments to what is said of each."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def segment_means(
    values: Float[Tensor, "H W"], segment: Int[Tensor, "H W"], areas: Int[Tensor, " s"]
) -> Float[Tensor, " s"]:
    """The mean of the pixels' values in each segment; not a number where it has none.

    Args:
        values: of each pixel.
        segment: the row of `areas` that each pixel belongs to.
        areas: pixels of each segment.
    """
    # Single precision would lose probabilities that are added to millions; Apple's devices have no other.
    accurate = torch.float32 if values.device.type == "mps" else torch.float64
    total = torch.zeros(len(areas), dtype=accurate, device=values.device)
    return total.index_add_(0, segment.flatten().long(), values.flatten().to(accurate)) / areas
