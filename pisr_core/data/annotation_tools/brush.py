"""Label Studio's run lengths of brush strokes: bits in which a length says how many bytes follow or repeat.

The format is that of the public package rle-pack: 32 bits for the number of values, 5 for their bits less one, four
times 4 for the bits of lengths less one; then for each run a bit (1 for one value that repeats), 2 for which of the
four sizes its length has, the length less one, and the value or values. The values are an RGBA picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from pisr_core.data.annotation_tools.regions import run_lengths

CHANNELS = 4
WORD = 8
SIZES = (3, 4, 8, 16)
"""Bits of lengths, as Label Studio writes them."""


@dataclass(frozen=True)
class BrushRegion:
    """What a brush painted.

    Attributes:
        numbers: bytes of the run lengths.
    """

    numbers: Sequence[int]

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """Which pixels are not transparent.

        Raises:
            ValueError: the run lengths are cut off or not those of such an image.
        """
        if not all(type(number) is int and 0 <= number < 256 for number in self.numbers):
            raise ValueError("its run lengths are no bytes")
        values = _unpacked(np.array(self.numbers, np.uint8), size[0] * size[1] * CHANNELS)
        return values.reshape(*size, CHANNELS)[..., -1] > 0


def _unpacked(data: UInt8[np.ndarray, " n"], expected: int) -> UInt8[np.ndarray, " values"]:
    bits = np.unpackbits(data)
    text, place = (bits + ord("0")).tobytes(), 0

    def number(length: int) -> int:
        nonlocal place
        place += length
        if place > len(text):
            raise ValueError("its run lengths are cut off")
        return int(text[place - length : place], 2)

    count, word = number(32), number(5) + 1
    if count != expected or word != WORD:
        raise ValueError(f"its run lengths are for {count // CHANNELS} pixels, the image has {expected // CHANNELS}")
    sizes = [number(4) + 1 for _ in SIZES]
    values = np.empty(count, np.uint8)
    done = 0
    while done < count:
        repeats, length = number(1), number(sizes[number(2)]) + 1
        if repeats:
            values[done : done + length] = number(WORD)
        else:
            here = bits[place : place + WORD * length]
            number(WORD * length)
            values[done : done + length] = np.packbits(here)[: count - done]
        done += length
    return values


def packed(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """The bytes for a mask, the inverse of `BrushRegion.mask`."""
    texts = [f"{CHANNELS * mask.size:032b}{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for number, pixels in enumerate(run_lengths(mask.ravel())):
        left = CHANNELS * pixels
        while left > 0:
            length = min(left, 2 ** SIZES[-1])
            kind = next(kind for kind, size in enumerate(SIZES) if length <= 2**size)
            texts.append(f"1{kind:02b}{length - 1:0{SIZES[kind]}b}{255 * (number % 2):08b}")
            left -= length
    bits = np.frombuffer("".join(texts).encode(), np.uint8) - ord("0")
    return np.packbits(bits).tolist()
