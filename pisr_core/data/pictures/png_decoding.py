"""PNGs of 8-bit RGB by a decoder that is four times as fast as libpng."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from kornia_rs.io import decode_image_png_u8, read_image_png_u8

HEADER = struct.Struct(">8s4x4sIIBB")
"""Signature, length and name of the first chunk, width, height, bits and colour type."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB_COLOURS = 2

MAX_MEGAPIXELS = 178
"""Larger images are refused: the limit at which Pillow suspects a decompression bomb. It warns at half of that."""

PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"sBIT", b"tIME", b"bKGD"}
"""Beside the end; what others say may tell an orientation."""


def decode_rgb(data: bytes) -> UInt8[np.ndarray, "H W 3"] | None:
    """The pixels of a PNG; `None` where it is of another kind or broken, which Pillow reads or names.

    Args:
        data: the file's content.
    """
    size = _size_of_rgb(data)
    if size is None:
        return None
    try:
        return decode_image_png_u8(data, size, "rgb")
    except Exception:  # it raises no narrower one; whatever it is, Pillow has the last word
        return None


def read_rgb(path: Path, header: bytes) -> UInt8[np.ndarray, "H W 3"] | None:
    """As `decode_rgb`, of a file, without a copy.

    Args:
        path: the file.
        header: its first `HEADER.size` bytes.
    """
    if _size_of_rgb(header) is None:
        return None
    try:
        return read_image_png_u8(os.fspath(path), "rgb")
    except Exception:  # as above
        return None


def _size_of_rgb(header: bytes) -> tuple[int, int] | None:
    """(H, W) of a PNG of 8-bit RGB that is not too large, of others `None`."""
    if len(header) < HEADER.size:
        return None
    signature, chunk, width, height, bits, colours = HEADER.unpack_from(header)
    if (signature, chunk, bits, colours) != (PNG_SIGNATURE, b"IHDR", 8, RGB_COLOURS):
        return None
    return (height, width) if height * width <= MAX_MEGAPIXELS * 10**6 else None


def chunks(data: bytes) -> set[bytes]:
    """The types of a PNG's chunks before its end, an incomplete one too where it breaks off."""
    found, place = set(), 8
    while (kind := data[place + 4 : place + 8]) != b"IEND":
        found.add(kind)
        if len(kind) < 4:
            break
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return found
