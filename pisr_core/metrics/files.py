"""Scores of predictions that lie on disk in COCO's panoptic format, whichever model made them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import (
    CocoPanopticFile,
    read_panoptic_json,
    read_panoptic_png,
)
from pisr_core.data.coco.tables import NO_AREA
from pisr_core.errors import DataError
from pisr_core.metrics.overlaps import Overlaps, segment_overlaps
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.scores import Scores
from pisr_core.runtime.devices.allocation import keep_freed_memory
from pisr_core.runtime.patience import PATIENCE, worker_pool
from pisr_core.runtime.pipeline import mapped_ahead
from pisr_core.structures import PanopticSegmentation

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
    truth_pngs = FileFinder(
        annotations_dir or annotations_json.with_suffix(""), annotations_json, truths.annotations.file_names
    )
    predicted_pngs = FileFinder(
        predictions_dir or predictions_json.with_suffix(""), predictions_json, predictions.annotations.file_names
    )

    def read(position: int) -> tuple[_Map, _Map]:
        return _read(predictions, position, predicted_pngs), _read(truths, position, truth_pngs)

    def name(position: int) -> str:
        return f"{annotations_json}: the PNGs of {truths.images.file_names[position]}"

    scores = Scores(truths.categories, instances, official_instances, semantic, details)
    positions = truths.annotations.positions()
    wrong_areas = 0
    with worker_pool(os.cpu_count() or 1) as pool:  # decoding does not hold Python's lock
        maps = mapped_ahead(read, positions, pool, IMAGES_AHEAD, patience=PATIENCE, name=name)
        pairs = zip(positions, maps, strict=True)
        for done, (position, (predicted, annotated)) in enumerate(pairs, start=1):
            image = truths.images[position]
            overlaps = _overlaps(predicted, annotated)
            scores.add(image.id, image.file_name, predicted.panoptic, overlaps, annotated.panoptic)
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


@dataclass(frozen=True)
class _Map:
    """A panoptic map and where it comes from."""

    path: Path
    panoptic: PanopticSegmentation


def _read(file: CocoPanopticFile, position: int, pngs: FileFinder) -> _Map:
    """The map of an image that has one."""
    record = file.annotations.of_image(position)
    assert record is not None  # as was checked
    path = pngs.path(record.file_name)
    return _Map(path, PanopticSegmentation(read_panoptic_png(path), record.segments))


def _overlaps(predicted: _Map, annotated: _Map) -> Overlaps:
    try:
        return segment_overlaps(annotated.panoptic, predicted.panoptic)
    except DataError as error:
        raise DataError(
            f"{predicted.path} against {annotated.path}: {error} Write the PNG and its JSON from the same map."
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
