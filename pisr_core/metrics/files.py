"""Scores of predictions that lie on disk in COCO's panoptic format, whichever model made them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from pisr_core.data.coco_files import (
    AnnotationRecord,
    CocoPanopticFile,
    read_panoptic_json,
    read_panoptic_png,
)
from pisr_core.data.coco_json import load_json
from pisr_core.errors import DataError
from pisr_core.metrics.overlaps import Overlaps, segment_overlaps
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.scores import Scores
from pisr_core.runtime.pipeline import mapped_ahead, worker_pool
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
) -> EvaluationResult:
    """All scores of the panoptic maps, over all annotated images.

    Args:
        predictions_json: the predictions; their `annotations` are what is read.
        annotations_json: the ground truth, which gives images and categories too.
        predictions_dir: folder of the predicted PNGs; the JSON's path without `.json` by default.
        annotations_dir: likewise for the ground truth.
        progress: called with (done, total) after each image.
        instances: count AP too.
        official_instances: see `Scores`.

    Raises:
        DataError: a file is missing or broken, an image has no prediction, sizes differ, or a PNG and its
            JSON list different segments.
    """
    start = time.perf_counter()
    truths = read_panoptic_json(annotations_json)
    predictions = read_panoptic_json(predictions_json, reference=truths)
    _check_complete(predictions, truths, predictions_json)
    truth_dir = annotations_dir or annotations_json.with_suffix("")
    prediction_dir = predictions_dir or predictions_json.with_suffix("")

    def read(image_id: int | str) -> _Pair:
        return _read_pair(prediction_dir, predictions.annotations[image_id], truth_dir, truths.annotations[image_id])

    scores = Scores(truths.categories, instances, official_instances)
    file_names = {image.id: image.file_name for image in truths.images}
    areas = _listed_areas(annotations_json)
    wrong_areas = 0
    with worker_pool(os.cpu_count() or 1) as pool:  # decoding does not hold Python's lock
        pairs = zip(truths.annotations, mapped_ahead(read, truths.annotations, pool, IMAGES_AHEAD), strict=True)
        for done, (image_id, (prediction, truth, overlaps)) in enumerate(pairs, start=1):
            scores.add(image_id, file_names[image_id], prediction, overlaps, truth)
            wrong_areas += _count_wrong_areas(overlaps, areas.get(image_id, {}))
            if progress is not None:
                progress(done, len(truths.annotations))
    if wrong_areas:
        log.warning(
            "%s: the area of %d segments is not that of the PNGs, which is used here.",
            annotations_json,
            wrong_areas,
        )
    return scores.result(time.perf_counter() - start)


_Pair = tuple[PanopticSegmentation, PanopticSegmentation, Overlaps]


def _read_pair(
    prediction_dir: Path, predicted: AnnotationRecord, truth_dir: Path, annotated: AnnotationRecord
) -> _Pair:
    """One image's prediction and annotation, and what they share."""
    prediction, truth = _read(prediction_dir, predicted), _read(truth_dir, annotated)
    try:
        return prediction, truth, segment_overlaps(truth, prediction)
    except DataError as error:
        raise DataError(
            f"{prediction_dir / predicted.file_name} against {truth_dir / annotated.file_name}: {error} "
            "Write the PNG and its JSON from the same map."
        ) from None


def _check_complete(predictions: CocoPanopticFile, truths: CocoPanopticFile, path: Path) -> None:
    missing = [image_id for image_id in truths.annotations if image_id not in predictions.annotations]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(truths.annotations)} annotated images have no prediction, "
            f"first image {missing[0]!r}. Predict every image, with an empty map where nothing is found."
        )


def _read(png_dir: Path, record: AnnotationRecord) -> PanopticSegmentation:
    return PanopticSegmentation(read_panoptic_png(png_dir / record.file_name), record.segments)


def _listed_areas(path: Path) -> dict[int | str, dict[int, int]]:
    """The areas that a checked JSON claims, by image and segment id."""
    entries = load_json(path)["annotations"]
    return {
        entry["image_id"]: {i["id"]: i["area"] for i in entry["segments_info"] if isinstance(i.get("area"), int)}
        for entry in entries
    }


def _count_wrong_areas(overlaps: Overlaps, listed: dict[int, int]) -> int:
    counted = zip(overlaps.truth, overlaps.true_areas.tolist(), strict=True)
    return sum(area > 0 and listed.get(segment.id, area) != area for segment, area in counted)
