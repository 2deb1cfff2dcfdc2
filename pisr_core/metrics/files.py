"""Scores of predictions that lie on disk in COCO's panoptic format, whichever model made them."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import read_panoptic_colours, read_panoptic_json
from pisr_core.data.coco.tables import NO_AREA, AnnotationTable, CocoPanopticFile
from pisr_core.errors import DataError
from pisr_core.metrics.overlaps import Overlaps, SegmentMap, map_overlaps
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.scores import Scores
from pisr_core.runtime.devices.allocation import keep_freed_memory
from pisr_core.runtime.processes.workers import Work, Workers, available_cores

log = logging.getLogger(__name__)

SHARED_FROM = 30_000_000
"""Pixels of a map that are worth the start of processes, a hundred images of COCO's."""

IMAGES_AT_ONCE = 4
"""After which a process tells how far it is."""

END = -1
"""In place of an image's position: a process shall tell what it counted."""


def evaluate_files(
    predictions_json: Path,
    annotations_json: Path,
    predictions_dir: Path | None = None,
    annotations_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    instances: bool = True,
    official_instances: Path | None = None,
    semantic: bool = True,
    details: bool = False,
) -> EvaluationResult:
    """The scores of panoptic maps, over all annotated images.

    Args:
        predictions_json: the predictions; their `annotations` are what is read.
        annotations_json: the ground truth, which gives images and categories too.
        predictions_dir: folder of the predicted PNGs; the JSON's path without `.json` by default.
        annotations_dir: likewise for the ground truth.
        progress: called with (done, total) after some images each.
        instances: count AP too.
        official_instances: see `Scores`.
        semantic: count mIoU too.
        details: see `Scores`.

    Raises:
        DataError: a file is missing or broken, an image has no prediction, sizes differ, or a PNG and its
            JSON list different segments.
    """
    start = time.perf_counter()
    keep_freed_memory()
    truths = read_panoptic_json(annotations_json)
    predictions = read_panoptic_json(predictions_json, reference=truths)
    _check_complete(predictions, truths, predictions_json)
    predicted = _Maps(predictions.annotations, predictions_dir or predictions_json.with_suffix(""), predictions_json)
    annotated = _Maps(truths.annotations, annotations_dir or annotations_json.with_suffix(""), annotations_json)
    scores = Scores(truths.categories, instances, official_instances, semantic, details)
    counting = _Counting(predicted, annotated, truths, scores)

    def name(position: int) -> str:
        of = "" if position == END else f": the PNGs of {truths.images.file_names[position]}"
        return f"{annotations_json}{of}"

    positions = truths.annotations.positions()
    pixels = sum(math.prod(truths.images.size(position)) for position in positions)
    shared = pixels >= SHARED_FROM and available_cores() > 1
    at_once = IMAGES_AT_ONCE if shared else 1
    chunks = [positions[first : first + at_once] for first in range(0, len(positions), at_once)]
    processes = min(available_cores(), len(chunks)) if shared else 0
    tasks = [*chunks, *[[END]] * processes]  # each process, however many start, gets one of the last
    done = 0
    with Workers(Work(tasks, counting.add, list), processes, "", name) as workers:
        for task, counts in zip(tasks, workers.results(), strict=True):
            for count in filter(None, counts):
                counting.merge(count)
            done += sum(position != END for position in task)
            if progress is not None:
                progress(done, len(positions))
    if counting.wrong_areas:
        log.warning(
            "%s: the area of %d segments is not that of the PNGs, which is used here.",
            annotations_json,
            counting.wrong_areas,
        )
    result = scores.result(time.perf_counter() - start)
    if result.details is None:
        return result
    places = {truths.images.ids[position]: place for place, position in enumerate(positions)}
    images = sorted(result.details.images, key=lambda image: places[image.score.image_id])
    return replace(result, details=replace(result.details, images=tuple(images)))


class _Maps:
    """The maps of a panoptic JSON.

    Args:
        annotations: of the JSON.
        folder: of the PNGs.
        path: the JSON itself.
    """

    def __init__(self, annotations: AnnotationTable, folder: Path, path: Path) -> None:
        self._annotations = annotations
        self._pngs = FileFinder(folder, path, annotations.file_names)

    def path(self, position: int) -> Path:
        """The PNG of the image at a position."""
        return self._pngs.path(self._annotations.file_name(position))

    def read(self, position: int) -> SegmentMap:
        """Its map."""
        return SegmentMap(read_panoptic_colours(self.path(position)), self._annotations.segments(position))


@dataclass
class _Counting:
    """Counts images: here, or as a copy of this in each of several processes.

    Attributes:
        predicted: the predictions.
        annotated: the ground truth.
        truths: its JSON.
        scores: what is counted.
        wrong_areas: segments whose area in that JSON is not that of the PNG.
        home: the process that wants to know.
    """

    predicted: _Maps
    annotated: _Maps
    truths: CocoPanopticFile
    scores: Scores
    wrong_areas: int = 0
    home: int = field(default_factory=os.getpid)
    _told: bool = False

    def add(self, position: int) -> tuple[Sequence[Any], int] | None:
        """Counts the image at a position. At `END` it tells another process what was counted, once."""
        if position == END:
            if self._told or os.getpid() == self.home:
                return None
            self._told = True
            return self.scores.state(), self.wrong_areas
        overlaps = self._overlaps(position)
        self.scores.add(self.truths.images.ids[position], self.truths.images.file_names[position], overlaps)
        self.wrong_areas += _count_wrong_areas(overlaps, self.truths.annotations.listed_areas(position))
        return None

    def merge(self, counted: tuple[Sequence[Any], int]) -> None:
        """Adds what another process counted."""
        self.scores.merge(counted[0])
        self.wrong_areas += counted[1]

    def _overlaps(self, position: int) -> Overlaps:
        """The table of an image that has both maps."""
        prediction, truth = self.predicted.read(position), self.annotated.read(position)
        try:
            return map_overlaps(truth, prediction)
        except DataError as error:
            raise DataError(
                f"{self.predicted.path(position)} against {self.annotated.path(position)}: {error} Write the PNG and "
                "its JSON from the same map."
            ) from None


def _check_complete(predictions: CocoPanopticFile, truths: CocoPanopticFile, path: Path) -> None:
    predicted = predictions.annotations.annotated()
    missing = [position for position in truths.annotations.positions() if not predicted[position]]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(truths.annotations)} annotated images have no prediction, "
            f"first image {truths.images.ids[missing[0]]!r}. Predict every image, with an empty map where nothing is "
            "found."
        )


def _count_wrong_areas(overlaps: Overlaps, listed: Int[np.ndarray, " t"]) -> int:
    areas = overlaps.true_areas
    return int(((areas > 0) & (listed != NO_AREA) & (listed != areas)).sum())
