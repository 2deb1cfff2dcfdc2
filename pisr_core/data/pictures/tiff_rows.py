"""Large TIFF files read some rows at a time, whatever their size and compression."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.images import open_image, pillow_pixels
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.errors import DataError

MAGIC = {b"II*\0": 8, b"MM\0*": 8, b"II+\0": 16, b"MM\0+": 16}
"""First bytes of TIFF and BigTIFF files, and the length of their headers."""

ONE_PLANE = 1
"""Of `PlanarConfiguration`: a pixel's channels lie side by side."""

WIDTH, HEIGHT, ORIENTATION, BITS = 256, 257, 274, 258
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTE_COUNTS, PLANES = 273, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTE_COUNTS = 322, 323, 324, 325

OF_A_PIECE = frozenset({BITS, 259, 262, 266, 277, PLANES, 317, 320, 338, 339, 347, 530, 531, 532})
"""Tags that say how pixels are stored, of each piece as of the whole: bits, compression, colours …"""


class TiffRows:
    """The rows of a TIFF file's first image.

    It consists of pieces, tiles or strips, that are compressed one by one; each is given to Pillow as a file of
    its own.

    Args:
        path: the file.
        value_range: the values that become 0 and 255, if it has more than 8 bits.

    Attributes:
        size: (H, W) in pixels.

    Raises:
        ValueError: it is no TIFF file, or of a kind that can only be read as a whole.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, value_range: ValueRange = ()) -> None:
        self.path, self._value_range = path, value_range
        tags = self._tags = _read_tags(path)
        try:
            self.size = (int(tags[HEIGHT]), int(tags[WIDTH]))
            self._tiled = TILE_OFFSETS in tags
            if self._tiled:
                self._piece = (int(tags[TILE_HEIGHT]), int(tags[TILE_WIDTH]))
                self._offsets, self._counts = tags[TILE_OFFSETS], tags[TILE_BYTE_COUNTS]
            else:
                self._piece = (min(int(tags.get(ROWS_PER_STRIP, self.size[0])), self.size[0]), self.size[1])
                self._offsets, self._counts = tags[STRIP_OFFSETS], tags[STRIP_BYTE_COUNTS]
            pieces = -(-self.size[0] // self._piece[0]) * -(-self.size[1] // self._piece[1])
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise ValueError(f"its tags are damaged ({error})") from error
        upright = tags.get(ORIENTATION, 1) == 1
        if not upright or tags.get(PLANES, 1) != 1 or not len(self._offsets) == len(self._counts) == pieces:
            raise ValueError("it is to be turned, or its channels lie apart")
        self._deep = max(tags.get(BITS, (1,))) > 8

    def rows(self, top: int, bottom: int) -> UInt8[np.ndarray, "h W 3"]:
        """RGB of some rows.

        Raises:
            DataError: the file is damaged; or it has more than 8 bits, and no range of values is known.
        """
        if self._deep and not self._value_range:
            raise DataError(
                f"{self.path}: has more than 8 bits a channel, and is read piece by piece. Say which values are used: "
                "--set data.value_range=[low, high]."
            )
        height, width = self._piece
        columns = -(-self.size[1] // width)
        pixels = np.empty((bottom - top, self.size[1], 3), np.uint8)
        try:
            with self.path.open("rb") as file:
                for row in range(top // height, -(-bottom // height)):
                    first, last = max(top, row * height), min(bottom, (row + 1) * height)
                    for column in range(columns):
                        piece = self._decoded(file, row * columns + column, min(height, self.size[0] - row * height))
                        left = column * width
                        part = pixels[first - top : last - top, left : left + width]
                        part[:] = piece[first - row * height : last - row * height, : part.shape[1]]
        except (DataError, *BROKEN_IMAGE_ERRORS) as error:
            reason = error.__cause__ or error
            raise DataError(f"{self.path}: cannot be read as an image ({reason}). Replace or remove it.") from error
        return pixels

    def _decoded(self, file: io.BufferedReader, number: int, rows_left: int) -> UInt8[np.ndarray, "h w 3"]:
        file.seek(self._offsets[number])
        data = file.read(self._counts[number])
        height = self._piece[0] if self._tiled else rows_left
        piece = ImageFileDirectory_v2(prefix=self._tags.prefix)
        for tag in OF_A_PIECE & self._tags.keys():
            piece.tagtype[tag] = self._tags.tagtype[tag]
            piece[tag] = self._tags[tag]
        piece[WIDTH], piece[HEIGHT], piece[ROWS_PER_STRIP] = self._piece[1], height, height
        piece[STRIP_OFFSETS], piece[STRIP_BYTE_COUNTS] = 0, len(data)
        content = io.BytesIO()
        piece.save(content)  # the strip's offset becomes the end of what it writes
        content.write(data)
        content.seek(0)
        return pillow_pixels(open_image(content), self._value_range)


def _read_tags(path: Path) -> ImageFileDirectory_v2:
    """Those of the first image; Pillow would refuse a large one when it opens the file."""
    with path.open("rb") as file:
        header = file.read(8)
        length = MAGIC.get(header[:4])
        if length is None:
            raise ValueError("no TIFF file")
        tags = ImageFileDirectory_v2(header + file.read(length - 8))
        file.seek(tags.next)
        try:
            tags.load(file)
        except BROKEN_IMAGE_ERRORS as error:
            raise ValueError(f"its tags are damaged ({error})") from error
    return tags
