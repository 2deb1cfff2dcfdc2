"""Pictures of an evaluation's images, for pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from pisr_core.evaluation.examples import Example
from pisr_core.metrics.worst import ImageScore
from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.mistakes import draw_mistakes, mistaken_pixels
from pisr_core.visualization.overlay import colorize, overlay

Examples = Callable[[Sequence[ImageScore]], Iterable[Example]]
"""Gives images of an evaluation, in the order in which they are named."""

LONG_SIDE = 640
"""Of the pictures, pixels, so that a page stays small."""


def number_or_dash(score: float | None) -> str:
    """A score for a title."""
    return "–" if score is None else f"{score:.1f}"


def pictures_of(example: Example, categories: Sequence[Category]) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Image, annotation, prediction and mistakes by their captions; without the image where it is not at hand."""
    height, width = example.truth.ids.shape
    factor = min(1.0, LONG_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    mistaken = mistaken_pixels(example.prediction, example.truth).astype(np.uint8)
    truth, prediction = _shrunk(example.truth, size), _shrunk(example.prediction, size)
    # Any mistaken pixel of those that one pixel of the picture stands for is shown: small ones survive.
    red = cv2.resize(mistaken * 255, size, interpolation=cv2.INTER_AREA) > 0
    if example.image is None:
        blank = np.full((size[1], size[0], 3), 255, np.uint8)
        pictures = {"annotated": colorize(truth, categories), "predicted": colorize(prediction, categories)}
        return {**pictures, "mistaken": draw_mistakes(blank, red)}
    image = cv2.resize(example.image, size, interpolation=cv2.INTER_AREA)
    return {
        "image": image,
        "annotated": overlay(image, truth, categories),
        "predicted": overlay(image, prediction, categories),
        "mistaken": draw_mistakes(image, red),
    }


def _shrunk(panoptic: PanopticSegmentation, size: tuple[int, int]) -> PanopticSegmentation:
    ids = cv2.resize(panoptic.ids, size, interpolation=cv2.INTER_NEAREST)
    return PanopticSegmentation(ids, panoptic.segments)
