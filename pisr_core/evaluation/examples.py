"""Images of an evaluation to look at: what is annotated and what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import read_panoptic_json, read_segmentation
from pisr_core.data.pictures.images import read_pixels
from pisr_core.metrics.worst import ImageScore
from pisr_core.structures import PanopticSegmentation


@dataclass(frozen=True)
class Example:
    """One image of a report.

    Attributes:
        score: how it came out.
        image: RGB, `None` where it is not at hand.
        truth: the annotation.
        prediction: of the annotation's size.
    """

    score: ImageScore
    image: UInt8[np.ndarray, "H W 3"] | None
    truth: PanopticSegmentation
    prediction: PanopticSegmentation


def examples_of_files(
    worst: Sequence[ImageScore],
    predictions_json: Path,
    annotations_json: Path,
    predictions_dir: Path | None = None,
    annotations_dir: Path | None = None,
    images_dir: Path | None = None,
) -> Iterator[Example]:
    """The worst images of predictions on disk; pictures lie in `images_dir`, if anywhere.

    Raises:
        DataError: a file is missing or broken.
    """
    truths = read_panoptic_json(annotations_json)
    predictions = read_panoptic_json(predictions_json, reference=truths)
    truth_pngs = FileFinder(
        annotations_dir or annotations_json.with_suffix(""), annotations_json, truths.annotations.file_names
    )
    predicted_pngs = FileFinder(
        predictions_dir or predictions_json.with_suffix(""), predictions_json, predictions.annotations.file_names
    )
    images = FileFinder(images_dir, annotations_json, truths.images.file_names) if images_dir is not None else None
    for score in worst:
        annotated, predicted = (file.annotations[score.image_id] for file in (truths, predictions))
        truth = read_segmentation(truth_pngs.path(annotated.file_name), annotated)
        prediction = read_segmentation(predicted_pngs.path(predicted.file_name), predicted)
        image = None if images is None else read_pixels(images.path(score.file_name), truth.ids.shape)
        yield Example(score, image, truth, prediction)
