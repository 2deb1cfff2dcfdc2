"""Images of any kind as 8-bit RGB."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from pisr_core.errors import DataError

BROKEN_IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises on broken, foreign or unreasonably large files."""


def read_image(path: Path, annotated_size: tuple[int, int] | None = None) -> UInt8[Tensor, "3 H W"]:
    """An image as RGB, upright as its EXIF orientation says.

    Greyscale, palette, CMYK, 16-bit and transparent images are converted; transparency is dropped.

    Args:
        path: the file, of any format that Pillow reads.
        annotated_size: (H, W) of its annotation. An image that fits it only as stored is left as stored.

    Raises:
        DataError: the file is missing, broken or of another size than its annotation.
    """
    try:
        with Image.open(path) as stored:
            image = ImageOps.exif_transpose(stored)
            if annotated_size is not None and _size(image) != annotated_size:
                image = stored
            pixels = _rgb(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image. Check the path, or file_name in the annotation.") from None
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Replace or remove it.") from error
    found = pixels.shape[:2]
    if annotated_size is not None and found != annotated_size:
        raise DataError(
            f"{path}: the image has {found[0]}×{found[1]} pixels, its annotation {annotated_size[0]}×"
            f"{annotated_size[1]}. Use the image that was annotated, at the same size."
        )
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def image_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """(H, W) of an image in pixels from its header alone.

    Args:
        path: the file.
        upright: turned as its EXIF orientation says, as `read_image` does; else as stored.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        with Image.open(path) as image:
            height, width = _size(image)
            turned = upright and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (width, height) if turned else (height, width)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image. Put it there.") from None
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Replace or remove it.") from error


def _size(image: Image.Image) -> tuple[int, int]:
    return image.height, image.width


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """Pixels in 8-bit RGB. Pillow would clip 16-bit greyscale, so it is scaled here."""
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return np.array(image.convert("RGB"))
