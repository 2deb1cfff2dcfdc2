"""Scores of films: VPQ, STQ, and how often a thing changes its id."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from pisr_core.metrics.overlaps import Overlaps, segment_overlaps
from pisr_core.metrics.panoptic_quality import GroupQuality, PanopticQuality, image_counts, match_segments
from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.structures.renumbering import renumbered

WINDOWS = (1, 2, 3, 4)
"""Frames in a row of which VPQ is the mean; of Cityscapes-VPS, which annotates every fifth, those 0, 5, 10 and 15
apart."""


@dataclass(frozen=True)
class FilmResult:
    """Scores of films, 0–100; `None` without anything to score.

    Attributes:
        vpq: over all classes, the mean over `WINDOWS`.
        vpq_things: over thing classes.
        vpq_stuff: over stuff classes.
        windows: VPQ of each number of frames; one frame's is PQ.
        stq: the root of aq · sq.
        aq: how well things keep their ids.
        sq: mIoU.
        id_switches: how often an annotated thing was matched with another id than the time before.
        films: their number.
        frames: of all of them.
    """

    vpq: float | None
    vpq_things: float | None
    vpq_stuff: float | None
    windows: dict[int, GroupQuality]
    stq: float | None
    aq: float | None
    sq: float | None
    id_switches: int
    films: int
    frames: int


class FilmScores:
    """Takes the frames of films as they come, one film after another.

    **VPQ** (Kim et al., Video Panoptic Segmentation, CVPR 2020): of each k frames in a row the segments of one id and
    class are a tube; PQ is counted of the tubes as of the segments of an image.

    **STQ** (Weber et al., STEP, NeurIPS 2021): √(AQ · SQ). SQ is the mIoU of all pixels. AQ is the mean over the
    annotated things g of 1/|g| · Σ TPA · IoU over the ids p that are predicted there, both counted over the whole film,
    whatever the classes; void and crowds count for nothing.

    Args:
        categories: the dataset's.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self._quality = {k: PanopticQuality(categories) for k in WINDOWS}
        n = len(self.categories)
        self._confusion: Int[np.ndarray, "n classes"] = np.zeros((n, n + 1), np.int64)
        self._association: list[float] = []
        self._switches = self._films = self._frames = 0
        self._film = _FilmState()

    def begin_film(self) -> None:
        """The frames from now on are another film's."""
        self._finish_film()
        self._films += 1

    def update(self, prediction: PanopticSegmentation, truth: PanopticSegmentation) -> None:
        """Adds the next frame.

        Raises:
            DataError: maps of different sizes, or segments that contradict their map.
        """
        film = self._film
        film.recent.append((prediction, truth))
        self._frames += 1
        overlaps = segment_overlaps(truth, prediction)
        self._count_windows(film)
        np.add.at(self._confusion, overlaps.true_classes, overlaps.by_class(len(self.categories))[1:])
        matches = match_segments(overlaps)
        for row, column in zip(*np.nonzero(matches.iou), strict=True):
            if self.categories[truth.segments[row].category].isthing:
                key, now = truth.segments[row].id, prediction.segments[column].id
                self._switches += film.matched.get(key, now) != now
                film.matched[key] = now
        film.count(overlaps, prediction.segments, truth.segments, self.categories)

    def result(self) -> FilmResult:
        """The scores of all films so far."""
        self._finish_film()
        per_window = {k: quality.result() for k, quality in self._quality.items()}
        aq = 100 * sum(self._association) / len(self._association) if self._association else None
        sq = self._mean_iou()
        return FilmResult(
            vpq=_mean([result.all.pq for result in per_window.values()]),
            vpq_things=_mean([result.things.pq for result in per_window.values()]),
            vpq_stuff=_mean([result.stuff.pq for result in per_window.values()]),
            windows={k: result.all for k, result in per_window.items()},
            stq=None if aq is None or sq is None else math.sqrt(aq * sq),
            aq=aq,
            sq=sq,
            id_switches=self._switches,
            films=self._films,
            frames=self._frames,
        )

    def _count_windows(self, film: _FilmState) -> None:
        for k, quality in self._quality.items():
            if k <= len(film.recent):
                predictions, truths = zip(*list(film.recent)[-k:], strict=True)
                overlaps = segment_overlaps(tubes(truths), tubes(predictions))
                quality.merge(image_counts(overlaps, match_segments(overlaps), len(self.categories)))

    def _finish_film(self) -> None:
        self._association += self._film.association()
        self._film = _FilmState()

    def _mean_iou(self) -> float | None:
        right = np.diag(self._confusion)
        union = self._confusion.sum(axis=1) + self._confusion[:, :-1].sum(axis=0) - right
        return 100 * float((right[union > 0] / union[union > 0]).mean()) if union.any() else None


@dataclass
class _FilmState:
    """What is remembered of the film that is being counted: pixels by the ids of things, and the last frames."""

    recent: deque[tuple[PanopticSegmentation, PanopticSegmentation]] = field(
        default_factory=lambda: deque(maxlen=max(WINDOWS))
    )
    matched: dict[int, int] = field(default_factory=dict)
    shared: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    true: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    predicted: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def count(
        self,
        overlaps: Overlaps,
        prediction: Sequence[Segment],
        truth: Sequence[Segment],
        categories: Sequence[Category],
    ) -> None:
        """Adds a frame's pixels."""
        counted = overlaps.shared * ~overlaps.crowd[:, None]
        columns = [j for j, segment in enumerate(prediction) if categories[segment.category].isthing]
        for j in columns:
            self.predicted[prediction[j].id] += int(counted[:, j].sum())
        for i, segment in enumerate(truth):
            if segment.iscrowd or not categories[segment.category].isthing:
                continue
            self.true[segment.id] += int(overlaps.true_areas[i])
            for j in columns:
                if counted[i, j]:
                    self.shared[segment.id, prediction[j].id] += int(counted[i, j])

    def association(self) -> list[float]:
        """AQ of each annotated thing, 0–1."""
        sums = dict.fromkeys(self.true, 0.0)
        for (thing, predicted), pixels in self.shared.items():
            sums[thing] += pixels * pixels / (self.true[thing] + self.predicted[predicted] - pixels)
        return [total / self.true[thing] for thing, total in sums.items() if self.true[thing]]


def tubes(frames: Sequence[PanopticSegmentation]) -> PanopticSegmentation:
    """Frames one below the other, in which the segments of one id, class and kind are one."""
    numbers: dict[tuple[int, int, bool], int] = {}
    areas: dict[tuple[int, int, bool], int] = defaultdict(int)
    maps = []
    for frame in frames:
        ids = {}
        for segment in frame.segments:
            key = (segment.id, segment.category, segment.iscrowd)
            ids[segment.id] = numbers.setdefault(key, len(numbers) + 1)
            areas[key] += segment.area
        maps.append(renumbered(frame, ids).ids)
    segments = (Segment(number, key[1], areas[key], key[2]) for key, number in numbers.items())
    return PanopticSegmentation(np.concatenate(maps), tuple(segments))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
