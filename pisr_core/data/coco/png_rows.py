"""Panoptic PNGs written some rows at a time, for maps that are too large to be held."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from pisr_core.data.pictures.png_decoding import PNG_SIGNATURE
from pisr_core.runtime.atomic import written_whole

LEVEL = 6
"""Of the compression."""

UP = 2
"""The filter: each row as its difference from the one above, which of a map is mostly 0."""


def write_png_rows(path: Path, size: tuple[int, int], parts: Iterable[Int[np.ndarray, "h W"]]) -> None:
    """Segment ids in [0, 2²⁴) as a panoptic PNG; its folder is made when it is missing.

    Args:
        path: the file.
        size: (H, W) of the map.
        parts: successive rows of it.

    Raises:
        OutputError: it cannot be written.
    """
    above: UInt8[np.ndarray, " bytes"] = np.zeros(3 * size[1], np.uint8)
    packer = zlib.compressobj(LEVEL)
    with written_whole(path, sync=False) as partial, partial.open("wb") as file:
        file.write(PNG_SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, 2, 0, 0, 0)))
        for ids in parts:
            rows = ids.astype("<i4").view(np.uint8).reshape(*ids.shape, 4)[..., :3].reshape(len(ids), -1)
            filtered = np.full((len(ids), 1 + rows.shape[1]), UP, np.uint8)
            filtered[:, 1:] = rows - np.concatenate([above[None], rows[:-1]])
            above = rows[-1]
            if data := packer.compress(filtered.tobytes()):
                file.write(_chunk(b"IDAT", data))
        file.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
