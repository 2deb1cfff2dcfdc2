"""Settings that a dataset suggests, each with its reason. They are starting points, not results of training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pisr_core.data.checking.statistics import DatasetStatistics
from pisr_core.data.pictures.value_range import find_value_range

CROP_PIXELS = 1024**2
"""Crops above this are halved: they would not fit a batch on one GPU."""

USUAL_TOP_K = 200
"""The paper's K."""

FEWEST = 20
"""Segments below which a percentile says nothing."""

LARGEST_STUFF_AREA = 4096 / (480 * 640)
"""The public Panoptic-DeepLab's share on COCO, the largest in use."""


@dataclass(frozen=True)
class Suggestion:
    """A setting for `--set key=value`.

    Attributes:
        key: its dotted name.
        value: as TOML writes it.
        reason: the numbers that it comes from.
    """

    key: str
    value: int | float | list[int] | list[float]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The suggestion for machines."""
        return vars(self)


def suggest_settings(statistics: DatasetStatistics, images: Sequence[Path]) -> tuple[Suggestion, ...]:
    """The settings that the images, instances and stuff suggest; none where there is too little to tell."""
    parts = [_crop(statistics.sizes), _value_range(images)]
    if len(statistics.center_distances) >= FEWEST:
        parts += _from_distances(statistics)
    if len(statistics.instance_areas) >= FEWEST:
        parts += _from_instances(statistics)
    if len(statistics.stuff_shares) >= FEWEST:
        parts.append(_stuff_area(statistics.stuff_shares))
    return tuple(part for part in parts if part is not None)


def _crop(sizes: Counter[tuple[int, int]]) -> Suggestion | None:
    """The median image, square where many stand upright and many lie, in multiples of 32 pixels."""
    if not sizes:
        return None
    each = np.array(list(sizes.elements()))
    height, width = np.median(each, axis=0)
    reason = f"the median image has {height:.0f}×{width:.0f} pixels"
    upright = float(np.mean(each[:, 0] > each[:, 1]))
    lying = float(np.mean(each[:, 0] < each[:, 1]))
    if min(upright, lying) > 0.1:
        height = width = float(np.median(each.max(axis=1)))
        reason = f"images lie and stand; their long side is {height:.0f} pixels in the median"
    if height * width > CROP_PIXELS:
        reason += "; halved to fit into memory"
    while height * width > CROP_PIXELS:
        height, width = height / 2, width / 2
    crop = [32 * math.ceil(side / 32) for side in (height, width)]
    return Suggestion("data.crop", crop, reason)


def _value_range(images: Sequence[Path]) -> Suggestion | None:
    found = find_value_range(images)
    reason = "what images of more than 8 bits a channel use; training finds it too"
    return Suggestion("data.value_range", list(found), reason) if found else None


def _from_distances(statistics: DatasetStatistics) -> list[Suggestion]:
    """Sigma and window from how close centres stand: 95 % of the neighbours shall stay apart.

    Two Gaussians at distance d have fallen to half their height between them when d is 2.355 sigma. A window of n
    pixels keeps the lower of two centres that are more than n // 2 apart in y or in x.
    """
    euclidean, chebyshev = np.percentile(statistics.center_distances, 5, axis=0)
    sigma = min(max(round(float(euclidean) / 2.355), 4), 10)
    object_side = math.sqrt(float(np.median(statistics.instance_areas)))
    widest = min(2 * math.ceil(chebyshev) - 1, math.ceil(object_side), 41)
    kernel = max(widest - 1 + widest % 2, 3)
    close = f"5 % of the instances have a neighbour's centre within {euclidean:.0f} pixels"
    window = f"5 % have one within {chebyshev:.0f} pixels in y and x; half of them are {object_side:.0f} wide or less"
    return [
        Suggestion("targets.sigma", float(sigma), f"{close} (from 4, a cell of the heatmap, to 10)"),
        Suggestion("merge.nms_kernel", kernel, f"{window} (from 3 to 41)"),
    ]


def _from_instances(statistics: DatasetStatistics) -> list[Suggestion]:
    most = max(statistics.instances_per_image)
    room = 10 * math.ceil(most / 10)
    top_k = max(20, room, min(2 * room, USUAL_TOP_K))
    half = int(np.median(statistics.instance_areas))
    room_for = f"twice that, from 20 to {USUAL_TOP_K}, leaves room for false centres"
    if room > USUAL_TOP_K / 2:
        room_for = f"{USUAL_TOP_K}, as in the paper, has room for all"
    if room > USUAL_TOP_K:
        room_for = f"each has its place; the paper's {USUAL_TOP_K} takes less memory and leaves the least confident out"
    reason = f"at most {most} instances in an image; {room_for}"
    suggestions = [
        Suggestion("relation.top_k", top_k, reason),
        Suggestion("targets.small_instance_area", half, "half of the instances are smaller, and weigh more"),
    ]
    if most > USUAL_TOP_K:
        suggestions.append(Suggestion("merge.top_k", top_k, f"an image has {most} instances"))
    return suggestions


def _stuff_area(shares: list[float]) -> Suggestion:
    share = min(float(np.percentile(shares, 5)), LARGEST_STUFF_AREA)
    digits = 10.0 ** math.floor(math.log10(share))
    rounded = round(math.floor(share / digits + 1e-9) * digits, 10)
    lost = float(np.mean(np.array(shares) < rounded))
    return Suggestion(
        "merge.stuff_area", rounded, f"{100 * lost:.1f} % of the stuff segments cover less of their image"
    )
