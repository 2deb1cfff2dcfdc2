"""From the feature grid back to the image: the step that every merging begins with."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STRIDE = 4
"""Pixels of the padded input to a cell of the predictions."""


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
