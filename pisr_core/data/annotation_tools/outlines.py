"""Outlines of masks along the edges of their pixels, which give the masks back exactly."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

Ring = Int[np.ndarray, "_ 2"]
"""(x, y) of corners of pixels."""


@dataclass(frozen=True)
class Outlines:
    """The outlines of one mask.

    Attributes:
        outer: around its parts.
        holes: around what is missing inside of them.
    """

    outer: list[Ring]
    holes: list[Ring]


def outlines(mask: Bool[np.ndarray, "H W"]) -> Outlines:
    """The outlines of a mask. Parts that touch at a corner are one part, as in OpenCV.

    OpenCV's contours go through the centres of the outermost pixels. On the mask at twice its size these are a
    quarter of a pixel from the edge, so that the edge is the next whole number.
    """
    doubled: UInt8[np.ndarray, "H2 W2"] = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    found = Outlines([], [])
    for contour, (_, _, _, parent) in zip(contours, [] if hierarchy is None else hierarchy[0], strict=True):
        (found.outer if parent < 0 else found.holes).append(_corners((contour[:, 0].astype(np.int64) + 1) // 2))
    return found


def joined(rings: list[Ring]) -> Ring:
    """One ring of several, with bridges of no width: each is entered at the corner that is nearest to the first one."""
    whole = rings[0]
    for ring in rings[1:]:
        distances = np.abs(whole[:, None] - ring[None]).sum(axis=2)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        detour = np.concatenate([whole[here : here + 1], np.roll(ring, -there, axis=0), ring[there : there + 1]])
        whole = np.concatenate([whole[:here], detour, whole[here:]])
    return whole


def _corners(ring: Ring) -> Ring:
    """Without points that come twice in a row."""
    return ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
