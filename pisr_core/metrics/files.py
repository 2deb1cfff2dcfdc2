"""Scores of predictions that lie on disk in COCO's panoptic format, whichever model made them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

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
from pisr_core.runtime.patience import PATIENCE, worker_pool
from pisr_core.runtime.pipeline import mapped_ahead

log = logging.getLogger(__name__)

IMAGES_AHEAD = 8
"""So many pairs of maps may wait in memory."""


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
        progress: called with (done, total) after each image.
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

    def name(position: int) -> str:
        return f"{annotations_json}: the PNGs of {truths.images.file_names[position]}"

    scores = Scores(truths.categories, instances, official_instances, semantic, details)
    positions = truths.annotations.positions()
    wrong_areas = 0
    with worker_pool(os.cpu_count() or 1) as pool:  # decoding does not hold Python's lock
        tables = partial(_overlaps, predicted, annotated)
        counted = mapped_ahead(tables, positions, pool, IMAGES_AHEAD, patience=PATIENCE, name=name)
        for done, (position, overlaps) in enumerate(zip(positions, counted, strict=True), start=1):
            scores.add(truths.images.ids[position], truths.images.file_names[position], overlaps)
            wrong_areas += _count_wrong_areas(overlaps, truths.annotations.listed_areas(position))
            if progress is not None:
                progress(done, len(positions))
    if wrong_areas:
        log.warning(
            "%s: the area of %d segments is not that of the PNGs, which is used here.",
            annotations_json,
            wrong_areas,
        )
    return scores.result(time.perf_counter() - start)


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


def _overlaps(predicted: _Maps, annotated: _Maps, position: int) -> Overlaps:
    """The table of an image that has both maps."""
    prediction, truth = predicted.read(position), annotated.read(position)
    try:
        return map_overlaps(truth, prediction)
    except DataError as error:
        raise DataError(
            f"{predicted.path(position)} against {annotated.path(position)}: {error} Write the PNG and its JSON from "
            "the same map."
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
