"""Images of an evaluation to look at: what is annotated and what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import CocoPanopticFile, read_panoptic_json, read_segmentation
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


class FileExamples:
    """Images whose predictions lie on disk.

    Args:
        predictions_json: the predictions.
        annotations_json: the ground truth.
        predictions_dir: folder of the predicted PNGs; the JSON's path without `.json` by default.
        annotations_dir: likewise for the ground truth.
        images_dir: where the pictures lie, if anywhere.
    """

    def __init__(
        self,
        predictions_json: Path,
        annotations_json: Path,
        predictions_dir: Path | None = None,
        annotations_dir: Path | None = None,
        images_dir: Path | None = None,
    ) -> None:
        self._predictions = (predictions_json, predictions_dir or predictions_json.with_suffix(""))
        self._annotations = (annotations_json, annotations_dir or annotations_json.with_suffix(""))
        self._images_dir = images_dir

    def __call__(self, scores: Sequence[ImageScore]) -> Iterator[Example]:
        """The images of these scores.

        Raises:
            DataError: a file is missing or broken.
        """
        if not scores:
            return
        truths, predictions, truth_pngs, predicted_pngs, images = self._opened
        for score in scores:
            annotated, predicted = (file.annotations[score.image_id] for file in (truths, predictions))
            truth = read_segmentation(truth_pngs.path(annotated.file_name), annotated)
            prediction = read_segmentation(predicted_pngs.path(predicted.file_name), predicted)
            image = None if images is None else read_pixels(images.path(score.file_name), truth.ids.shape)
            yield Example(score, image, truth, prediction)

    @cached_property
    def _opened(self) -> tuple[CocoPanopticFile, CocoPanopticFile, FileFinder, FileFinder, FileFinder | None]:
        """Both JSONs, and where their PNGs and the images are found; read once for all that is looked at."""
        (path, folder), (predictions_path, predictions_folder) = self._annotations, self._predictions
        truths = read_panoptic_json(path)
        predictions = read_panoptic_json(predictions_path, reference=truths)
        images = None if self._images_dir is None else FileFinder(self._images_dir, path, truths.images.file_names)
        predicted_pngs = FileFinder(predictions_folder, predictions_path, predictions.annotations.file_names)
        return truths, predictions, FileFinder(folder, path, truths.annotations.file_names), predicted_pngs, images
