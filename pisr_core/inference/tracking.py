"""Segments that keep their ids from frame to frame of a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from pisr_core.pixel_runs import find_runs
from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.structures.renumbering import renumbered

MEMORY = 15
"""Frames for which a thing that is not seen is remembered."""

LEAST_OVERLAP = 0.15
"""IoU from which on a segment is taken for a track; things move between frames, so it is far below one half."""

SLIVER = 0.5
"""What a segment that lies wholly within a thing counts for, beside an IoU of 1."""

SEEN = 0.9
"""Share of a thing's whole area from which on nothing hides it."""

INERTIA = 0.5
"""Share of the former velocity in the new one, for a thing that is half hidden seems to jump."""


@dataclass(frozen=True)
class _Place:
    """The pixels of a segment: a window, and where in it."""

    top: int
    left: int
    mask: Bool[np.ndarray, "h w"]
    area: int

    @property
    def center(self) -> Float[np.ndarray, " 2"]:
        """(y, x) of the middle of its pixels."""
        return np.array([self.top, self.left]) + [positions.mean() for positions in np.nonzero(self.mask)]

    def shared(self, other: _Place, move: tuple[int, int]) -> int:
        """Shared pixels of another one, after it has moved by (y, x) pixels."""
        top, left = self.top + move[0] - other.top, self.left + move[1] - other.left
        (height, width), (rows, columns) = self.mask.shape, other.mask.shape
        y, x = slice(max(top, 0), min(top + height, rows)), slice(max(left, 0), min(left + width, columns))
        if y.start >= y.stop or x.start >= x.stop:
            return 0
        mine = self.mask[y.start - top : y.stop - top, x.start - left : x.stop - left]
        return int((mine & other.mask[y, x]).sum())


@dataclass
class _Track:
    """A thing as it was seen, last and whole.

    What hides a thing leaves a sliver of it, whose middle moves otherwise than the thing: so the largest of its last
    masks stays for when it comes out again, and where slivers are seen the velocity stays.
    """

    id: int
    category: int
    place: _Place
    frame: int
    whole: _Place
    whole_frame: int
    velocity: Float[np.ndarray, " 2"]

    def overlap(self, place: _Place, frame: int) -> float:
        """With a segment of a later frame, had it moved on as before: IoU, or the share of the smaller in the whole."""
        last = self.place.shared(place, self._moved(frame - self.frame))
        whole = self.whole.shared(place, self._moved(frame - self.whole_frame))
        return max(last / (self.place.area + place.area - last), SLIVER * whole / min(self.whole.area, place.area))

    def see(self, place: _Place, frame: int, memory: int) -> None:
        """It is there now."""
        if min(place.area, self.place.area) >= SEEN * self.whole.area:
            moved = (place.center - self.place.center) / (frame - self.frame)
            self.velocity = INERTIA * self.velocity + (1 - INERTIA) * moved
        self.place, self.frame = place, frame
        if place.area >= self.whole.area or frame - self.whole_frame > memory:
            self.whole, self.whole_frame = place, frame

    def _moved(self, frames: int) -> tuple[int, int]:
        rows, columns = np.rint(self.velocity * frames).astype(int).tolist()
        return rows, columns


class Tracker:
    """Gives the segments of a film's frames ids that stay.

    A thing is matched with the track of its class that it overlaps most, all of a frame at once so that the sum of the
    IoUs is the highest; tracks move on as they did. One that is not seen is remembered for `memory` frames: so it
    survives what hides it for a while. A stuff class is one segment and has one id all through.

    Args:
        categories: the dataset's.
        memory: frames.
    """

    def __init__(self, categories: Sequence[Category], memory: int = MEMORY) -> None:
        self._categories = tuple(categories)
        self._memory = memory
        self._tracks: list[_Track] = []
        self._frame = 0
        self._last_id = len(self._categories)

    def update(self, panoptic: PanopticSegmentation) -> PanopticSegmentation:
        """The next frame's map with its lasting ids: 1 + class for stuff, above all these for things."""
        self._frame += 1
        self._tracks = [track for track in self._tracks if self._frame - track.frame <= self._memory]
        runs = find_runs(panoptic.ids)
        boxes = dict(zip(runs.present.tolist(), runs.boxes.tolist(), strict=True))
        ids, things = {}, []
        for segment in panoptic.segments:
            if not self._categories[segment.category].isthing:
                ids[segment.id] = 1 + segment.category
                continue
            left, top, width, height = boxes[segment.id]
            mask = panoptic.ids[top : top + height, left : left + width] == segment.id
            things.append((segment.id, segment.category, _Place(top, left, mask, int(mask.sum()))))
        tracks = self._matched([(category, place) for _, category, place in things])
        for (segment_id, category, place), track in zip(things, tracks, strict=True):
            ids[segment_id] = self._seen(track, category, place)
        return renumbered(panoptic, ids)

    def _matched(self, things: Sequence[tuple[int, _Place]]) -> list[_Track | None]:
        """The track of each thing, `None` for a new one."""
        from scipy.optimize import linear_sum_assignment  # takes long to import, for which images need not wait

        overlaps = np.zeros((len(things), len(self._tracks)))
        for row, (category, place) in enumerate(things):
            for column, track in enumerate(self._tracks):
                if track.category == category:
                    overlaps[row, column] = track.overlap(place, self._frame)
        found: list[_Track | None] = [None] * len(things)
        for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[row, column] >= LEAST_OVERLAP:
                found[row] = self._tracks[column]
        return found

    def _seen(self, track: _Track | None, category: int, place: _Place) -> int:
        """The id of a thing, which begins a track where it has none."""
        if track is None:
            self._last_id += 1
            track = _Track(self._last_id, category, place, self._frame, place, self._frame, np.zeros(2))
            self._tracks.append(track)
        else:
            track.see(place, self._frame, self._memory)
        return track.id
