"""Whom a cell belongs to that lies in several instances' maps: I, which Sec. 3.2 lets overlap, as a partition."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-12
"""Values that have a logarithm."""


def partitioned(
    instances: Float[Tensor, "b k h w"], partition: str, temperature: float = 0.25
) -> Float[Tensor, "b k h w"]:
    """I, each cell's values times its instances' shares of it.

    Args:
        instances: I in [0, 1].
        partition: `none`, every share is 1; `soft`, shares go by the values to the power of 1 / temperature and add up
            to 1; `hard`, the largest value takes the cell, the first of equals.
        temperature: of soft shares; they near the hard ones as it nears 0.
    """
    if partition == "none" or not instances.shape[1]:
        return instances
    if partition == "hard":
        owner = instances.argmax(dim=1, keepdim=True)
        return instances * (torch.arange(instances.shape[1], device=owner.device)[:, None, None] == owner)
    shares = (instances.clamp(min=SMALLEST).log() / temperature).softmax(dim=1)
    return instances * shares
