"""Panoptic maps with other ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pisr_core.pixel_runs import find_runs
from pisr_core.structures.panoptic import VOID_ID, PanopticSegmentation


def renumbered(panoptic: PanopticSegmentation, ids: Mapping[int, int]) -> PanopticSegmentation:
    """The same map, in which each segment has the id that `ids` gives for its own; other ids become void."""
    runs = find_runs(panoptic.ids)
    new = np.array([ids.get(old, VOID_ID) for old in runs.present.tolist()], np.int32)
    segments = tuple(replace(segment, id=ids[segment.id]) for segment in panoptic.segments)
    return PanopticSegmentation(runs.paint(new), segments)
