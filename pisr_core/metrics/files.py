"""Scores of predictions that lie on disk in COCO's panoptic format, whichever model made them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pisr_core.data.coco_files import (
    AnnotationRecord,
    CocoPanopticFile,
    read_panoptic_json,
    read_panoptic_png,
)
from pisr_core.errors import DataError
from pisr_core.metrics.panoptic_quality import PanopticQuality
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.semantic import MeanIoU
from pisr_core.structures import PanopticSegmentation

log = logging.getLogger(__name__)


def evaluate_files(
    predictions_json: Path,
    annotations_json: Path,
    predictions_dir: Path | None = None,
    annotations_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """PQ, and the mIoU of the panoptic maps, over all annotated images.

    Args:
        predictions_json: the predictions; their `annotations` are what is read.
        annotations_json: the ground truth, which gives images and categories too.
        predictions_dir: folder of the predicted PNGs; the JSON's path without `.json` by default.
        annotations_dir: likewise for the ground truth.
        progress: called with (done, total) after each image.

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

    quality, iou = PanopticQuality(truths.categories), MeanIoU(len(truths.categories))
    areas = _listed_areas(annotations_json)
    wrong_areas = 0
    for done, (image_id, record) in enumerate(truths.annotations.items(), start=1):
        truth = _read(truth_dir, record)
        prediction = _read(prediction_dir, predictions.annotations[image_id])
        try:
            quality.update(prediction, truth)
        except DataError as error:
            raise DataError(
                f"{prediction_dir / predictions.annotations[image_id].file_name} against "
                f"{truth_dir / record.file_name}: {error} Write the PNG and its JSON from the same map."
            ) from None
        iou.update(prediction.semantic(), truth.semantic())
        wrong_areas += _count_wrong_areas(truth, areas.get(image_id, {}))
        if progress is not None:
            progress(done, len(truths.annotations))
    if wrong_areas:
        log.warning(
            "%s: the area of %d segments is not that of the PNGs, which is used here.",
            annotations_json,
            wrong_areas,
        )
    seconds = time.perf_counter() - start
    return EvaluationResult(truths.categories, quality.result(), iou.result(), len(truths.annotations), seconds)


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
    entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    return {
        entry["image_id"]: {info["id"]: info["area"] for info in entry["segments_info"] if "area" in info}
        for entry in entries
    }


def _count_wrong_areas(truth: PanopticSegmentation, listed: dict[int, int]) -> int:
    present, areas = np.unique(truth.ids, return_counts=True)
    counted = zip(present.tolist(), areas.tolist(), strict=True)
    return sum(listed.get(segment_id, area) != area for segment_id, area in counted)
