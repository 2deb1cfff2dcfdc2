"""Faults that most PNGs of a split share: what looks like hundreds of faults has one cause and one cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from pisr_core.data.checking.findings import Kind
from pisr_core.data.checking.segments import SegmentShapes
from pisr_core.structures import VOID_ID

Ids = Int[np.ndarray, " s"]
Infos = Sequence[Mapping[str, Any]]
"""Usable entries of a `segments_info`."""

FITS = 0.9
"""Share of the segments of a PNG and its JSON that must agree for a reading to explain them."""


@dataclass(frozen=True)
class Reading:
    """What a PNG's ids may be in place of segment ids.

    Attributes:
        kind: the fault that it supposes.
        meaning: the fault in words.
        segment_ids: the segment ids that ids of a PNG stand for; `None` where they cannot be told.
        of_categories: the PNG's ids are those of categories.
    """

    kind: Kind
    meaning: str
    segment_ids: Callable[[Ids, Infos], Ids | None]
    of_categories: bool = False


def _exchanged(ids: Ids, infos: Infos) -> Ids:
    return (ids & 0xFF) << 16 | ids & 0xFF00 | ids >> 16


def _raised(ids: Ids, infos: Infos) -> Ids:
    """What looks like void may be segment 1."""
    lowest = VOID_ID if any(info["id"] == 1 for info in infos) else VOID_ID + 1
    return np.where(ids >= lowest, ids + 1, VOID_ID)


def _lowered(ids: Ids, infos: Infos) -> Ids:
    return np.maximum(ids - 1, VOID_ID)


def _segments_of_categories(ids: Ids, infos: Infos) -> Ids | None:
    segment_of = {VOID_ID: VOID_ID} | {info["category_id"]: info["id"] for info in infos}
    several = len({info["category_id"] for info in infos}) < len(infos)
    if several or not segment_of.keys() >= set(ids.tolist()):
        return None
    return np.array([segment_of[value] for value in ids.tolist()], ids.dtype)


READINGS = (
    Reading(Kind.CHANNELS_SWAPPED, "red and blue are exchanged", _exchanged),
    Reading(Kind.IDS_SHIFTED, "their ids are one too low", _raised),
    Reading(Kind.IDS_SHIFTED, "their ids are one too high", _lowered),
    Reading(Kind.CATEGORY_IDS, "their ids are those of the categories", _segments_of_categories, of_categories=True),
)


def fits(shapes: SegmentShapes, infos: Infos) -> bool:
    """Whether a PNG holds the segments that the JSON lists, with the areas that it lists."""
    return _agreement(None, shapes, infos)[0] == 1


def find_reading(seen: Sequence[tuple[SegmentShapes, Infos]]) -> tuple[Reading, int] | None:
    """The reading that explains most of some PNGs which do not fit their JSON, and how many.

    Args:
        seen: what the PNGs hold and what the JSON lists of them.
    """
    explanations = (_explanation(shapes, infos) for shapes, infos in seen)
    votes = Counter(reading for reading in explanations if reading is not None)
    if not votes:
        return None
    reading, count = votes.most_common(1)[0]
    return (reading, count) if 2 * count > len(seen) else None


def _explanation(shapes: SegmentShapes, infos: Infos) -> Reading | None:
    """The reading with which a PNG fits well, and better than as it is written."""
    best, best_agreement = None, _agreement(None, shapes, infos)
    for reading in READINGS:
        agreement = _agreement(reading, shapes, infos)
        by_areas, by_ids = (now > before for now, before in zip(agreement, best_agreement, strict=True))
        contradicted = agreement[0] < best_agreement[0]
        if (agreement[0] >= FITS and by_areas) or (agreement[1] >= FITS and by_ids and not contradicted):
            best, best_agreement = reading, agreement
    return best


def _agreement(reading: Reading | None, shapes: SegmentShapes, infos: Infos) -> tuple[float, float]:
    """Which share of the segments of PNG and JSON the other has too: with the listed area, and at all."""
    of_categories = reading is not None and reading.of_categories
    ids = shapes.ids if reading is None or of_categories else reading.segment_ids(shapes.ids, infos)
    assert ids is not None
    listed = _listed_areas(infos, "category_id" if of_categories else "id")
    areas = {
        segment_id: area
        for segment_id, area in zip(ids.tolist(), shapes.areas.tolist(), strict=True)
        if segment_id != VOID_ID or VOID_ID in listed
    }
    shared = areas.keys() & listed.keys()
    same = sum(listed[segment_id] in (None, areas[segment_id]) for segment_id in shared)
    total = len(areas) + len(listed)
    return 2 * same / total, 2 * len(shared) / total


def _listed_areas(infos: Infos, key: str) -> dict[int, int | float | None]:
    """The listed pixels by segment or category; `None` where the JSON does not say."""
    areas: dict[int, int | float | None] = {}
    for info in infos:
        area, before = info.get("area"), areas.get(info[key], 0)
        areas[info[key]] = before + area if before is not None and isinstance(area, int | float) else None
    return areas


class Owners:
    """Finds the annotation that a PNG belongs to by what it holds, whatever its name says.

    Args:
        annotations: image ids, and the segments that the JSON lists of each.
    """

    def __init__(self, annotations: Iterable[tuple[int | str, Infos]]) -> None:
        self._owner: dict[int, int | str | None] = {}
        for image_id, infos in annotations:
            for key in _keys(_listed_areas(infos, "id")):
                self._owner[key] = None if key in self._owner else image_id

    def of(self, shapes: SegmentShapes) -> int | str | None:
        """The image id of the only annotation with the PNG's segments, best with their areas; `None` if unknown."""
        areas = dict(zip(shapes.ids.tolist(), shapes.areas.tolist(), strict=True))
        areas.pop(VOID_ID, None)
        owners = (self._owner.get(key) for key in _keys(areas))
        return next((owner for owner in owners if owner is not None), None) if areas else None


def _keys(areas: Mapping[int, int | float | None]) -> tuple[int, int]:
    """What tells segments apart from those of other images: their ids and areas, and their ids alone."""
    return hash(frozenset(areas.items())), hash(frozenset(areas))
