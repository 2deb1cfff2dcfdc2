"""From the device to the host, with one wait for all that is wanted there."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

ALIGNMENT = 8
"""Bytes at whose multiples each tensor begins in the packed one."""


def to_host(*tensors: Shaped[Tensor, ...]) -> list[Shaped[Tensor, ...]]:
    """The same tensors on the CPU.

    They travel as one row of bytes, from a GPU into page-locked memory: each copy for itself would wait for the device
    once more.

    Args:
        tensors: all on one device.
    """
    if not tensors or tensors[0].device.type == "cpu":
        return list(tensors)
    parts = [_bytes(tensor) for tensor in tensors]
    packed = torch.cat(parts)
    if packed.is_cuda:
        host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True).copy_(packed)
    else:
        host = packed.cpu()
    arrived = zip(host.split([len(part) for part in parts]), tensors, strict=True)
    return [
        part[: tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape) for part, tensor in arrived
    ]


def _bytes(tensor: Shaped[Tensor, ...]) -> Shaped[Tensor, " n"]:
    """A tensor as a row of bytes, filled up with zeros to a multiple of `ALIGNMENT`."""
    row = tensor.contiguous().flatten().view(torch.uint8)
    return torch.nn.functional.pad(row, (0, -len(row) % ALIGNMENT))
