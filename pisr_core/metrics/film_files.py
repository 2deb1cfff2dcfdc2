"""Scores of films that lie on disk, each frame an image in COCO's panoptic format."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import CocoPanopticFile, read_panoptic_json, read_panoptic_png
from pisr_core.errors import DataError
from pisr_core.metrics.films import FilmResult, FilmScores
from pisr_core.structures import PanopticSegmentation

CITYSCAPES_VPS = re.compile(r"(\d{4})_\d{4}_\w+_\d{6}_\d{6}")
"""Names of Cityscapes-VPS: the first number is that of the film."""


def film_of(file_name: str) -> str:
    """The film that a frame is of: its name without the last number, or what Cityscapes-VPS's names say."""
    name = Path(file_name).with_suffix("").as_posix()
    known = CITYSCAPES_VPS.match(Path(name).name)
    return known[1] if known else re.sub(r"[_-]?\d+$", "", name)


def evaluate_films(
    predictions_json: Path,
    annotations_json: Path,
    predictions_dir: Path | None = None,
    annotations_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FilmResult:
    """VPQ, STQ and id switches over all annotated frames, in the order of the annotations' images.

    Frames in a row whose names differ in their last number only are a film; a segment's id stands for the same thing in
    all of them.

    Args:
        predictions_json: the predictions; their `annotations` are what is read.
        annotations_json: the ground truth, which gives frames and categories too.
        predictions_dir: folder of the predicted PNGs; the JSON's path without `.json` by default.
        annotations_dir: likewise for the ground truth.
        progress: called with (done, total) after each frame.

    Raises:
        DataError: a file is missing or broken, a frame has no prediction, or sizes differ.
    """
    truths = read_panoptic_json(annotations_json)
    predictions = read_panoptic_json(predictions_json, reference=truths)
    true_pngs, predicted_pngs = (
        FileFinder(folder or path.with_suffix(""), path, file.annotations.file_names)
        for folder, path, file in (
            (annotations_dir, annotations_json, truths),
            (predictions_dir, predictions_json, predictions),
        )
    )
    scores = FilmScores(truths.categories)
    positions = [position for position in range(len(truths.images)) if truths.annotations.annotated()[position]]
    done = 0
    for _, frames in groupby(positions, key=lambda position: film_of(truths.images[position].file_name)):
        scores.begin_film()
        for position in frames:
            name = truths.images[position].file_name
            prediction = _read(predictions, position, predicted_pngs)
            truth = _read(truths, position, true_pngs)
            if prediction is None or truth is None:
                raise DataError(f"{predictions_json}: the frame {name} has no prediction. Predict every frame.")
            try:
                scores.update(prediction, truth)
            except DataError as error:
                raise DataError(f"{name}: {error} Write the PNG and its JSON from the same map.") from None
            done += 1
            if progress is not None:
                progress(done, len(positions))
    return scores.result()


def _read(file: CocoPanopticFile, position: int, pngs: FileFinder) -> PanopticSegmentation | None:
    record = file.annotations.of_image(position)
    if record is None:
        return None
    return PanopticSegmentation(read_panoptic_png(pngs.path(record.file_name)), record.segments)
