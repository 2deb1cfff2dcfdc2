"""Depthwise convolutions, fast where oneDNN on the CPU is slow: dilated ones, and the gradients of wide ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint

Span = tuple[slice, slice]
"""Rows and columns of a map."""

STRIP = 3
"""Columns of a kernel up to which oneDNN has a fast gradient of the weights; for 5 it takes ten times as long."""


class DepthwiseConv2d(nn.Conv2d):
    """A convolution of each channel by itself, that keeps the size: `nn.Conv2d`'s numbers up to rounding.

    In float32 on the CPU it is 3 to 30 times as fast as oneDNN's where it is dilated, forward and backward.

    Args:
        channels: in and out.
        kernel_size: odd, cells.
        dilation: cells.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels, bias=False
        )

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The maps, filtered."""
        if not (maps.is_cpu and maps.dtype == torch.float32) or torch.compiler.is_compiling() or _watched():
            return super().forward(maps)
        if self.dilation[0] > 1:
            filtered = _Dilated.apply(maps, self.weight, self.dilation[0])
            return filtered if self.bias is None else filtered + self.bias[:, None, None]
        if self.kernel_size[0] > STRIP and torch.is_grad_enabled():
            return _Wide.apply(maps, self.weight)
        return super().forward(maps)


def _watched() -> bool:
    """Whether somebody counts operations, to whom this shall be the one convolution that it is.

    Checkpoints watch them too, to keep the results of some.
    """
    return any(type(mode).__module__ != checkpoint.__module__ for mode in _get_current_dispatch_mode_stack())


class _Dilated(torch.autograd.Function):
    """A sum of shifted maps, each times its weight of the kernel; weights that meet padding alone cost nothing."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.dilation = dilation
        return _shifted_sum(maps, weight, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        maps, weight = ctx.saved_tensors
        of_weight = torch.zeros_like(weight)
        for row, column, target, source in _taps(weight, maps, ctx.dilation):
            of_weight[:, 0, row, column] = (gradient[..., *target] * maps[..., *source]).sum(dim=(0, 2, 3))
        return _shifted_sum(gradient, weight.flip(2, 3), ctx.dilation), of_weight, None


def _shifted_sum(maps: Tensor, weight: Tensor, dilation: int) -> Tensor:
    # Neighbours in memory are channels, of the maps and so of the weights.
    weights = weight[:, 0].permute(1, 2, 0).contiguous()[..., None, None]
    middle = weight.shape[2] // 2, weight.shape[3] // 2
    result = maps * weights[middle]
    for row, column, target, source in _taps(weight, maps, dilation):
        if (row, column) != middle:
            result[..., *target].addcmul_(maps[..., *source], weights[row, column])
    return result


def _taps(weight: Tensor, maps: Tensor, dilation: int) -> Iterator[tuple[int, int, Span, Span]]:
    """The places in the kernel that see any of the map: where they write, and what they read there."""
    height, width = maps.shape[2:]
    rows, columns = weight.shape[2:]
    for row in range(rows):
        for column in range(columns):
            down, right = dilation * (row - rows // 2), dilation * (column - columns // 2)
            if abs(down) < height and abs(right) < width:
                target = _rest(-down, height), _rest(-right, width)
                yield row, column, target, (_rest(down, height), _rest(right, width))


def _rest(shift: int, length: int) -> slice:
    """What remains of a side without its first `shift` cells, or its last ones if it is negative."""
    return slice(max(shift, 0), length + min(shift, 0))


class _Wide(torch.autograd.Function):
    """A kernel without dilation whose weights get their gradient a strip of columns at a time."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return F.conv2d(maps, weight, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        maps, weight = ctx.saved_tensors
        edge, width = weight.shape[-1] // 2, maps.shape[-1]
        padded, of_weight = F.pad(maps, (edge, edge, edge, edge)), []
        for first in range(0, weight.shape[-1], STRIP):
            strip = weight[..., first : first + STRIP]
            seen = padded[..., first : first + width + strip.shape[-1] - 1]
            of_weight.append(_gradients(gradient, seen, strip, 0, [False, True, False])[1])
        return _gradients(gradient, maps, weight, edge, [True, False, False])[0], torch.cat(of_weight, dim=-1)


def _gradients(gradient: Tensor, maps: Tensor, weight: Tensor, padding: int, wanted: list[bool]) -> Any:
    """Torch's own, of the maps and the weights, as far as wanted."""
    ones, sides, groups = [1, 1], [padding, padding], len(weight)
    return torch.ops.aten.convolution_backward(
        gradient, maps, weight, None, ones, sides, ones, False, [0, 0], groups, wanted
    )
