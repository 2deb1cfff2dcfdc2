"""From the feature grid back to the image: the step that every merging begins with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STRIDE = 4
"""Pixels of the padded input to a cell of the predictions."""

CPU_BAND, BAND = 1 << 20, 1 << 26
"""Most values of a band on the CPU, where it stays in the cache, and on other devices, where few kernels count."""


def to_output_size(
    maps: Float[Tensor, "c h w"], input_size: tuple[int, int], output_size: tuple[int, int]
) -> Float[Tensor, "c H W"]:
    """One image's maps upsampled to the padded input, cropped, and brought to the output's size, bilinearly.

    Args:
        maps: on the stride-4 grid.
        input_size: (H, W) of the image without its padding, pixels.
        output_size: (H, W) of the result.
    """
    pixels = F.interpolate(maps[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
    pixels = pixels[..., : input_size[0], : input_size[1]]
    if input_size != output_size:
        pixels = F.interpolate(pixels, size=output_size, mode="bilinear", align_corners=False)
    return pixels[0]


def output_bands(
    maps: Float[Tensor, "c h w"], input_size: tuple[int, int], output_size: tuple[int, int]
) -> Iterator[Float[Tensor, "c rows W"]]:
    """The result of `to_output_size` from top to bottom, some rows at a time: all classes of all pixels need no memory.

    Args:
        maps: on the stride-4 grid.
        input_size: (H, W) of the image without its padding, pixels.
        output_size: (H, W) of the result.
    """
    height, width = output_size
    values = CPU_BAND if maps.device.type == "cpu" else BAND
    rows = max(STRIDE, values // (len(maps) * max(width, input_size[1])))
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        if input_size == output_size:
            yield _upsampled_rows(maps, start, stop, input_size[1])
        else:
            yield _resized_rows(maps, start, stop, input_size, output_size)


def _upsampled_rows(maps: Float[Tensor, "c h w"], start: int, stop: int, width: int) -> Float[Tensor, "c rows W"]:
    """Rows of the maps upsampled to the padded input: they depend on those cells and the next on either side."""
    first = max(start // STRIDE - 1, 0)
    cells = maps[None, :, first : (stop - 1) // STRIDE + 2]
    pixels = F.interpolate(cells, scale_factor=STRIDE, mode="bilinear", align_corners=False)[0]
    return pixels[:, start - STRIDE * first : stop - STRIDE * first, :width]


def _resized_rows(
    maps: Float[Tensor, "c h w"], start: int, stop: int, input_size: tuple[int, int], output_size: tuple[int, int]
) -> Float[Tensor, "c rows W"]:
    """Rows of the result where its size is not the input's; `F.interpolate` cannot start at a fraction of a row."""
    position = (torch.arange(start, stop) + 0.5) * (input_size[0] / output_size[0]) - 0.5
    position = position.clamp(0, input_size[0] - 1)
    above = position.long()
    below = (above + 1).clamp(max=input_size[0] - 1)
    first = int(above[0])
    pixels = _upsampled_rows(maps, first, int(below[-1]) + 1, input_size[1])
    above, below, share = (x.to(maps.device) for x in (above - first, below - first, (position - above)[:, None]))
    rows = pixels[:, above].lerp(pixels[:, below], share.to(maps.dtype))
    return F.interpolate(rows[None], size=(stop - start, output_size[1]), mode="bilinear", align_corners=False)[0]
