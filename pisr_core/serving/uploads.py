"""Images from strangers: what is too large, of another type or broken is refused before it costs anything."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from pisr_core.data.pictures.images import open_image
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.errors import DataError, PisrError

TYPES = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""What is read, by content and not by name."""


class Refusal(PisrError):
    """An upload that is not predicted.

    Attributes:
        status: HTTP's, 4xx or 503.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        megabytes: of an upload.
        megapixels: of an image.
        queue: uploads that may wait while one is predicted.
        seconds: that an upload may take.
    """

    megabytes: float = 20.0
    megapixels: float = 40.0
    queue: int = 8
    seconds: float = 30.0


@contextmanager
def opened_upload(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    """The image of an upload, whose pixels are not decoded yet; what is wrong with them in the block is refused too.

    Raises:
        Refusal: it is none, of another type, too large, or broken.
    """
    if not data:
        raise Refusal(400, "nothing was sent: send an image as the body, or as a file of a form.")
    try:
        with open_image(io.BytesIO(data)) as image:
            if image.format not in TYPES:
                raise Refusal(415, f"a {image.format} file: send one of {', '.join(TYPES)}.")
            if image.width * image.height > limits.megapixels * 1e6:
                raise Refusal(
                    413, f"the image has {image.width}×{image.height} pixels: {limits.megapixels:g} megapixels at most."
                )
            yield image
    except Image.DecompressionBombError:
        raise Refusal(413, f"the image has too many pixels: {limits.megapixels:g} megapixels at most.") from None
    except UnidentifiedImageError:
        raise Refusal(415, f"this is no image that can be read: send one of {', '.join(TYPES)}.") from None
    except DataError as error:
        raise Refusal(422, str(error)) from None
    except BROKEN_IMAGE_ERRORS as error:
        raise Refusal(422, f"the image is broken ({error}): send it again or another.") from None
