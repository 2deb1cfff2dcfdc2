"""COCO's matching of detections with instances, for all thresholds and ranges of areas at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pisr_core.metrics.detections import Outcome

NEARLY_ONE = 1 - 1e-10
"""No threshold is above it, as in pycocotools."""


@dataclass(frozen=True)
class Instances:
    """The t annotated instances of an image.

    Attributes:
        classes: position of each one's class, -1 for one that is none of the dataset's.
        areas: of each, pixels.
        crowds: whether it is a crowd; a detection on one is ignored, and IoU with it is the detection's share on it.
    """

    classes: Int[np.ndarray, " t"]
    areas: Float[np.ndarray, " t"] | Int[np.ndarray, " t"]
    crowds: Bool[np.ndarray, " t"]


def outside(
    areas: Float[np.ndarray, " n"] | Int[np.ndarray, " n"], ranges: Float[np.ndarray, "a 2"]
) -> Bool[np.ndarray, "a n"]:
    """Which areas lie outside of each range."""
    return (areas < ranges[:, :1]) | (areas > ranges[:, 1:])


def match_detections(
    iou: Float[np.ndarray, "d t"],
    areas: Int[np.ndarray, " d"],
    instances: Instances,
    thresholds: Float[np.ndarray, " thresholds"],
    ranges: Float[np.ndarray, "a 2"],
) -> UInt8[np.ndarray, "a thresholds d"]:
    """What each detection is, by COCO's rules.

    One after another takes the free instance of the largest IoU that reaches the threshold, of equal ones the last.
    Instances that count go before those that are ignored (crowds, and areas outside of the range); crowds stay free.
    A detection without an instance is ignored where its own area is outside of the range.

    Args:
        iou: of each detection, the most confident first, with each instance; below zero where their classes differ.
        areas: of the detections, pixels.
        instances: the annotated ones.
        thresholds: IoU that a match must reach.
        ranges: smallest and largest area that count, pixels.
    """
    least = np.minimum(thresholds, NEARLY_ONE)[:, None]
    ignored = (outside(instances.areas, ranges) | instances.crowds)[:, None]
    free = np.ones((len(ranges), len(thresholds), len(instances.areas)), bool)
    missed = np.where(outside(areas, ranges), Outcome.IGNORED, Outcome.FALSE_POSITIVE)
    outcomes = np.repeat(missed[:, None], len(thresholds), axis=1).astype(np.uint8)
    for detection in np.flatnonzero((iou >= least.min()).any(axis=1)):
        fits = free & (iou[detection] >= least)
        counted = fits & ~ignored
        usable = np.where(counted.any(axis=2, keepdims=True), counted, fits)
        # From the end, for of equal IoUs the last counts.
        best = iou.shape[1] - 1 - np.where(usable, iou[detection], -1)[..., ::-1].argmax(axis=2)[..., None]
        found = usable.any(axis=2, keepdims=True)
        on_ignored = np.take_along_axis(np.broadcast_to(ignored, free.shape), best, axis=2)
        taken = np.where(on_ignored, Outcome.IGNORED, Outcome.TRUE_POSITIVE)
        outcomes[..., detection] = np.where(found, taken, outcomes[..., detection, None])[..., 0]
        still = np.take_along_axis(free, best, axis=2) & ~(found & ~instances.crowds[best])
        np.put_along_axis(free, best, still, axis=2)
    return outcomes
