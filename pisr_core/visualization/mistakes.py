"""Where a prediction is wrong."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

from pisr_core.metrics.overlaps import segment_overlaps
from pisr_core.metrics.panoptic_quality import match_segments
from pisr_core.structures import VOID_ID, PanopticSegmentation

MISTAKE_COLOR = (214, 40, 57)
"""RGB."""

OPACITY = 0.65
"""Of that colour, and of the white veil around."""


def mistaken_pixels(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> Bool[np.ndarray, "H W"]:
    """Annotated pixels, crowds left out, that are not in the overlap of two matching segments.

    Raises:
        DataError: maps of different sizes, or segments that contradict their map.
    """
    matches = match_segments(segment_overlaps(truth, prediction))
    unjudged = [VOID_ID, *(segment.id for segment in truth.segments if segment.iscrowd)]
    mistaken = ~np.isin(truth.ids, unjudged)
    for true, predicted in zip(*np.nonzero(matches.iou), strict=True):
        mistaken &= (truth.ids != truth.segments[true].id) | (prediction.ids != prediction.segments[predicted].id)
    return mistaken


def draw_mistakes(image: UInt8[np.ndarray, "H W 3"], mistaken: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The image in grey, pale where nothing is wrong and red where something is."""
    grey = image.mean(axis=2, keepdims=True)
    return (grey * (1 - OPACITY) + OPACITY * np.where(mistaken[..., None], MISTAKE_COLOR, 255)).astype(np.uint8)
