"""From the feature grid back to the image: the step that every merging begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STRIDE = 4
"""Pixels of the padded input to a cell of the predictions, but for networks that say otherwise."""

CPU_BAND, BAND = 1 << 20, 1 << 26
"""Most values of a band on the CPU, where it stays in the cache, and on other devices, where few kernels count."""


def to_output_size(
    maps: Float[Tensor, "c h w"], input_size: tuple[int, int], output_size: tuple[int, int], stride: int = STRIDE
) -> Float[Tensor, "c H W"]:
    """One image's maps upsampled to the padded input, cropped, and brought to the output's size, bilinearly.

    Args:
        maps: on the network's grid.
        input_size: (H, W) of the image without its padding, pixels.
        output_size: (H, W) of the result.
        stride: pixels to a cell.
    """
    pixels = F.interpolate(maps[None], scale_factor=stride, mode="bilinear", align_corners=False)
    pixels = pixels[..., : input_size[0], : input_size[1]]
    if input_size != output_size:
        pixels = F.interpolate(pixels, size=output_size, mode="bilinear", align_corners=False)
    return pixels[0]


def output_bands(
    maps: Float[Tensor, "c h w"], input_size: tuple[int, int], output_size: tuple[int, int], stride: int = STRIDE
) -> Iterator[Float[Tensor, "c rows W"]]:
    """The result of `to_output_size` from top to bottom, some rows at a time: all classes of all pixels need no memory.

    Args:
        maps: on the network's grid.
        input_size: (H, W) of the image without its padding, pixels.
        output_size: (H, W) of the result.
        stride: pixels to a cell.
    """

    def pixels(start: int, stop: int) -> Float[Tensor, "c rows W"]:
        return _upsampled_rows(maps, start, stop, input_size[1], stride)

    for start, stop in _bands(maps, output_size[0], max(output_size[1], input_size[1])):
        if input_size == output_size:
            yield pixels(start, stop)
        else:
            yield _resized_rows(pixels, input_size[0], start, stop, output_size)


def resized_bands(maps: Float[Tensor, "c h w"], size: tuple[int, int]) -> Iterator[Float[Tensor, "c rows W"]]:
    """Maps resized bilinearly to (H, W), some rows at a time."""
    for start, stop in _bands(maps, *size):
        yield _resized_rows(lambda first, last: maps[:, first:last], maps.shape[1], start, stop, size)


def _bands(maps: Tensor, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows from … to, which have about as many values of all maps as memory allows."""
    values = CPU_BAND if maps.device.type == "cpu" else BAND
    rows = max(STRIDE, values // (len(maps) * width))
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def _upsampled_rows(
    maps: Float[Tensor, "c h w"], start: int, stop: int, width: int, stride: int
) -> Float[Tensor, "c rows W"]:
    """Rows of the maps upsampled to the padded input: they depend on those cells and the next on either side."""
    first = max(start // stride - 1, 0)
    cells = maps[None, :, first : (stop - 1) // stride + 2]
    pixels = F.interpolate(cells, scale_factor=stride, mode="bilinear", align_corners=False)[0]
    return pixels[:, start - stride * first : stop - stride * first, :width]


def _resized_rows(
    rows_between: Callable[[int, int], Float[Tensor, "c _ w"]],
    input_height: int,
    start: int,
    stop: int,
    output_size: tuple[int, int],
) -> Float[Tensor, "c rows W"]:
    """Rows of maps at another size; `F.interpolate` cannot start at a fraction of a row."""
    scale = input_height / output_size[0]
    # A row more on either side than are read: nobody waits for a device to say which they are.
    first = max(int((start + 0.5) * scale - 0.5) - 1, 0)
    source = rows_between(first, min(int((stop - 0.5) * scale - 0.5) + 3, input_height))
    position = (torch.arange(start, stop, device=source.device) + 0.5) * scale - 0.5
    position = position.clamp(0, input_height - 1)
    above = position.long()
    below = (above + 1).clamp(max=input_height - 1)
    share = (position - above)[:, None].to(source.dtype)
    rows = source[:, above - first].lerp(source[:, below - first], share)
    return F.interpolate(rows[None], size=(stop - start, output_size[1]), mode="bilinear", align_corners=False)[0]
