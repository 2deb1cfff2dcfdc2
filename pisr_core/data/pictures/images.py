"""Images of any kind as 8-bit RGB, in arrays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pisr_core.data.pictures.deep_images import ValueRange, deep_pixels, eight_bits, open_grey_tiff
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.data.pictures.png_decoding import MAX_MEGAPIXELS, PLAIN_CHUNKS, chunks, decode_rgb
from pisr_core.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What is taken from a folder; a file that is named itself may have any."""

END_OF_JPEG = b"\xff\xd9"

TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""

_KNOWN_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

Image.init()  # else Pillow does not know which of them it was built with
FORMATS = tuple(name for name in _KNOWN_FORMATS if name in Image.OPEN)
"""What is read, whatever a file's ending says. Pillow knows more; of these some start other programs (EPS)."""


def read_pixels(
    path: Path, annotated_size: tuple[int, int] | None = None, value_range: ValueRange = ()
) -> UInt8[np.ndarray, "H W 3"]:
    """An image as RGB, upright as its EXIF orientation says; of an animation the first frame.

    Greyscale, palette, CMYK, 16-bit, floating-point and transparent images are converted; transparency is dropped.

    Args:
        path: the file, of one of `FORMATS`.
        annotated_size: (H, W) of its annotation. An image that fits it only as stored is left as stored.
        value_range: the values that become 0 and 255, if it has more than 8 bits; the image's own by default.

    Raises:
        DataError: the file is missing, broken, beyond `MAX_MEGAPIXELS` or of another size than its annotation.
    """
    with opened(path) as stored:
        pixels = _decoded_faster(path, stored)
        if pixels is None:
            shallow = _of_eight_bits(stored, value_range)
            image = ImageOps.exif_transpose(shallow)
            if annotated_size is not None and _size(image) != annotated_size:
                image = shallow
            pixels = _rgb(image)
    found = pixels.shape[:2]
    if annotated_size is not None and found != annotated_size:
        raise DataError(
            f"{path}: the image has {found[0]}×{found[1]} pixels, its annotation {annotated_size[0]}×"
            f"{annotated_size[1]}. Use the image that was annotated, at the same size."
        )
    return pixels


def pillow_pixels(image: Image.Image, value_range: ValueRange = ()) -> UInt8[np.ndarray, "H W 3"]:
    """An image that is open already, converted as `read_pixels` does.

    Raises:
        DataError: its file is broken.
    """
    try:
        return _rgb(ImageOps.exif_transpose(_of_eight_bits(image, value_range)))
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"a Pillow image cannot be read ({error}). Give another.") from error


def image_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """(H, W) of an image in pixels from its header alone.

    Args:
        path: the file.
        upright: turned as its EXIF orientation says, as `read_pixels` does; else as stored.

    Raises:
        DataError: the file is missing, broken or beyond `MAX_MEGAPIXELS`.
    """
    with opened(path) as image:
        height, width = _size(image)
        turned = upright and image.getexif().get(ExifTags.Base.Orientation, 1) in TURNED
        return (width, height) if turned else (height, width)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file; what goes wrong with it in the block becomes a `DataError`."""
    try:
        with open_image(path) as image:
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such image. Check the path, or file_name in the annotation.") from None
    except UnidentifiedImageError:
        reason = "is of no known format" if path.stat().st_size else "is empty (0 bytes)"
        raise DataError(f"{path}: cannot be read as an image: it {reason}. Replace or remove it.") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path}: has more than {MAX_MEGAPIXELS} megapixels, the limit. Scale it down or cut it into tiles."
        ) from None
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Replace or remove it.") from error


def open_image(source: Path | io.BytesIO) -> Image.Image:
    """The image of a file, or of its bytes, of one of `FORMATS`.

    Raises:
        UnidentifiedImageError: it is of another format, or of none.
        OSError: it cannot be read, or another of `BROKEN_IMAGE_ERRORS`.
    """
    try:
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        image = open_grey_tiff(source)
        if image is None:
            raise
        return image


def _size(image: Image.Image) -> tuple[int, int]:
    return image.height, image.width


def _of_eight_bits(image: Image.Image, value_range: ValueRange) -> Image.Image:
    """The image itself, or a deep one brought to 8 bits with its EXIF orientation."""
    pixels = deep_pixels(image)
    if pixels is None:
        return image
    shallow = Image.fromarray(eight_bits(pixels, value_range))
    shallow.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return shallow


def _decoded_faster(path: Path, image: Image.Image) -> UInt8[np.ndarray, "H W 3"] | None:
    """The pixels of a plain file by decoders that are faster than Pillow's; `None` for all else, and what is broken.

    OpenCV takes JPEGs that break off, so they have to show their end.
    """
    if image.format == "PNG":
        data = path.read_bytes()
        return decode_rgb(data) if chunks(data) <= PLAIN_CHUNKS else None
    if image.format != "JPEG" or image.mode != "RGB" or image.getexif() or "xmp" in image.info:
        return None
    data = path.read_bytes()
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data.endswith(END_OF_JPEG) else None


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
