"""Images of more than 8 bits a channel, as microscopes, X-ray and thermal cameras and floating-point TIFF have them.

Pillow turns colours of 16 bits into 8 without a word, so OpenCV reads these. A file seldom says which of its values are
used: 12 bits in 16 would look black. So the range that becomes 0 to 255 is found, or given.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TypeGuard

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ValueRange = tuple[float, ...]
"""(low, high), the stored values that become 0 and 255, what lies beyond is cut off; () where they are unknown."""

PERCENTILES = (0.01, 99.99)
"""Between these an image's values count: a few dead and hot pixels do not."""

MOST_PIXELS = 10**6
"""So many of an image are looked at, spread over it."""

TIFF_SIGNATURES = (b"II*\0", b"MM\0*")


def deep_pixels(image: Image.Image) -> Shaped[np.ndarray, "H W *c"] | None:
    """The values of an image as stored, grey or RGB; `None` where they have 8 bits.

    Raises:
        ValueError: OpenCV cannot read its file.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)
    return _colours(image) if _loses_bits(image) else None


def _loses_bits(image: Image.Image) -> TypeGuard[ImageFile]:
    """Whether Pillow's decoder, which has not run yet, would drop bits of the file's colours."""
    if not isinstance(image, ImageFile) or image.mode not in ("RGB", "RGBA", "RGBX", "LA") or not image.tile:
        return False
    decoder, _, _, arguments = image.tile[0]
    raw_mode, *others = (arguments,) if isinstance(arguments, str) else arguments or ("",)
    return ";16" in str(raw_mode) or (decoder == "ppm" and others[0] > 255)


def _colours(image: ImageFile) -> Shaped[np.ndarray, "H W 3"]:
    assert image.fp is not None  # there are tiles to be read from it
    image.fp.seek(0)
    content = image.fp.read()
    image.load()  # notices a file that is cut off, as OpenCV does not
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3:
        raise ValueError("its 16-bit colours are of no known kind")
    return pixels[..., 2::-1]  # from BGR, perhaps with alpha


def open_grey_tiff(source: Path | io.BytesIO) -> Image.Image | None:
    """A TIFF of one channel that Pillow does not know, as of 64-bit floating point, in single precision; else `None`.

    Raises:
        Image.DecompressionBombError: it is larger than Pillow's limit.
    """
    content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    if not content.startswith(TIFF_SIGNATURES):
        return None
    directory = ImageFileDirectory_v2(content[:8])
    file = io.BytesIO(content)
    file.seek(directory.next)
    directory.load(file)
    size = int(directory[256]), int(directory[257])
    if size[0] * size[1] > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError(f"{size[0]}×{size[1]} pixels")
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return Image.fromarray(pixels.astype(np.float32)) if pixels is not None and pixels.ndim == 2 else None


def eight_bits(pixels: Shaped[np.ndarray, "H W *c"], value_range: ValueRange) -> UInt8[np.ndarray, "H W 3"]:
    """Stored values as RGB; NaN, where nothing was measured, becomes 0. Without a range the image's own is taken."""
    low, high = value_range or rounded_range(*value_limits(pixels))
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    values = np.rint(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255)).astype(np.uint8)
    return values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)


def value_limits(pixels: Shaped[np.ndarray, "H W *c"]) -> tuple[float, float, bool]:
    """The lowest and highest value but for a few, and whether all are whole numbers."""
    step = max(1, math.isqrt(pixels.shape[0] * pixels.shape[1] // MOST_PIXELS))
    values = pixels[::step, ::step]
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0, True
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high), bool((values == np.rint(values)).all())


def rounded_range(low: float, high: float, whole: bool) -> tuple[float, float]:
    """The range that values from `low` to `high` shall have.

    What begins near 0 begins at 0. Whole numbers get all that their bits hold, such as 4095 for 12, and fractions that
    come near to 1 end there. Values far from 0, as thermal cameras give them, or below keep their own limits.
    """
    if low < 0 or high / 2 <= low < high:
        return low, high if low < high else low + 1
    if whole:
        return 0.0, float(2 ** max(1, math.ceil(math.log2(high + 1))) - 1)
    return 0.0, 1.0 if 0.5 < high <= 1 else high
