"""Class names written into the segments of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Integer, UInt8

from pisr_core.pixel_runs import find_runs

FONT = cv2.FONT_HERSHEY_SIMPLEX
WORKING_SIDE = 512
"""Places are looked for on maps whose long side is no more than this many cells."""

LETTER_COLOR, RIM_COLOR = 255, 20
"""Grey levels."""

COVERAGE = 0.98
"""Share of a name's box that must lie within its segment."""


@dataclass(frozen=True)
class _Style:
    """Size of the letters in a picture.

    Attributes:
        scale: of the font.
        thickness: of a stroke, pixels.
    """

    scale: float
    thickness: int

    @classmethod
    def for_picture(cls, height: int, width: int) -> _Style:
        """Legible letters on small pictures, larger ones on large pictures."""
        scale = max(0.33, 0.2 + min(height, width) / 1700)
        return cls(scale, max(1, round(1.6 * scale)))

    def box(self, text: str) -> tuple[int, int]:
        """(height, width) of a text with a margin, pixels."""
        (width, height), baseline = cv2.getTextSize(text, FONT, self.scale, self.thickness)
        return height + baseline + 2 * self.thickness, width + 4 * self.thickness


def draw_names(
    picture: UInt8[np.ndarray, "H W 3"], positions: Integer[np.ndarray, "H W"], names: Sequence[str]
) -> None:
    """Writes each segment's name where it fits into the segment, and nowhere else.

    Args:
        picture: drawn on in place.
        positions: for each pixel 1 + the position of its segment's name, 0 for none.
        names: the texts; of other letters than ASCII, which the font lacks, question marks remain.
    """
    height, width = positions.shape
    style = _Style.for_picture(height, width)
    step = -(-max(height, width) // WORKING_SIDE)
    coarse = positions[::step, ::step].astype(np.int32)
    runs = find_runs(coarse)
    for position, (left, top, *size) in zip(runs.present.tolist(), runs.boxes.tolist(), strict=True):
        if position == 0:
            continue
        text = names[position - 1].encode("ascii", "replace").decode()
        box = style.box(text)
        window = coarse[top : top + size[1], left : left + size[0]]
        place = _place(window == position, -(-box[0] // step), -(-box[1] // step))
        if place is not None and box[0] <= height and box[1] <= width:
            _write(picture, text, step * (top + place[0]), step * (left + place[1]), style)


def _place(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> tuple[int, int] | None:
    """(y, x) of the middle of the innermost box of this size that the mask covers, if any."""
    if mask.shape[0] < height or mask.shape[1] < width:
        return None
    filled = mask.astype(np.float32)
    coverage = cv2.boxFilter(filled, -1, (width, height), borderType=cv2.BORDER_CONSTANT)
    framed = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
    depth[coverage < COVERAGE] = 0
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return (int(y), int(x)) if depth[y, x] > 0 else None


def _write(picture: UInt8[np.ndarray, "H W 3"], text: str, y: int, x: int, style: _Style) -> None:
    """White letters with a dark rim, centred on (y, x)."""
    height, width = style.box(text)
    top = min(max(y - height // 2, 0), picture.shape[0] - height)
    left = min(max(x - width // 2, 0), picture.shape[1] - width)
    (_, letters_height), _ = cv2.getTextSize(text, FONT, style.scale, style.thickness)
    letters = np.zeros((height, width), np.uint8)
    start = (2 * style.thickness, letters_height + style.thickness)
    cv2.putText(letters, text, start, FONT, style.scale, 255, style.thickness, cv2.LINE_AA)
    # A rim grown from the letters fits them; thicker letters would be wider.
    rim = cv2.dilate(letters, np.ones((3, 3), np.uint8), iterations=style.thickness)
    patch = picture[top : top + height, left : left + width]
    for alpha, color in ((rim, RIM_COLOR), (letters, LETTER_COLOR)):
        share = alpha[..., None] / 255
        patch[:] = (1 - share) * patch + share * color
