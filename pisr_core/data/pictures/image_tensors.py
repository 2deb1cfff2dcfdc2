"""Images as tensors, as models read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.images import pillow_pixels, read_pixels


def read_image(
    path: Path, annotated_size: tuple[int, int] | None = None, value_range: ValueRange = ()
) -> UInt8[Tensor, "3 H W"]:
    """An image as RGB, see `read_pixels`."""
    return _channels_first(read_pixels(path, annotated_size, value_range))


def pillow_to_tensor(image: Image.Image, value_range: ValueRange = ()) -> UInt8[Tensor, "3 H W"]:
    """An image that is open already, see `pillow_pixels`."""
    return _channels_first(pillow_pixels(image, value_range))


def _channels_first(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[Tensor, "3 H W"]:
    # The colours of a pixel stay side by side: resizing is up to four times as fast so.
    return torch.from_numpy(pixels).permute(2, 0, 1)
