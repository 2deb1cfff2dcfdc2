"""The images with the largest mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageScore:
    """How one image came out.

    Attributes:
        image_id: the id in the dataset's files.
        file_name: the image's file name.
        pq: PQ of this image alone, 0–100: the mean over its classes; `None` without any segment.
        mistaken_pixels: annotated pixels (crowds left out) that are not in the overlap of a match.
        annotated_pixels: annotated pixels, crowds left out.
    """

    image_id: int | str
    file_name: str
    pq: float | None
    mistaken_pixels: int
    annotated_pixels: int


class WorstImages:
    """Keeps the images with the most mistaken pixels; of equal ones those whose id comes first.

    Args:
        limit: how many.

    Attributes:
        state: the images so far, the worst first.
    """

    def __init__(self, limit: int = 12) -> None:
        self.limit = limit
        self.state: list[ImageScore] = []

    def update(self, image: ImageScore) -> None:
        """Adds one image."""
        self.merge([image])

    def merge(self, state: Sequence[ImageScore]) -> None:
        """Adds the state of another one."""
        images = [image for image in (*self.state, *state) if image.mistaken_pixels > 0]
        self.state = sorted(images, key=lambda image: (-image.mistaken_pixels, str(image.image_id)))[: self.limit]

    def result(self) -> tuple[ImageScore, ...]:
        """The worst images so far."""
        return tuple(self.state)
