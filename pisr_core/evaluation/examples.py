"""Images of an evaluation to look at: what is annotated and what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from pisr_core.data.coco_files import read_panoptic_json, read_segmentation
from pisr_core.data.file_finder import FileFinder
from pisr_core.data.images import read_image
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.metrics.worst import ImageScore
from pisr_core.models import PanopticModel
from pisr_core.structures import PanopticDataset, PanopticSegmentation


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


def examples_of_model(
    worst: Sequence[ImageScore],
    model: PanopticModel,
    dataset: PanopticDataset,
    positions: Mapping[int | str, int],
    device: torch.device,
) -> Iterator[Example]:
    """The worst images, predicted once more, so that no evaluation has to keep its maps.

    Args:
        worst: which ones.
        model: is on `device`.
        dataset: annotated images.
        positions: where each image id stands in the dataset.
        device: where the model computes.
    """
    for score in worst:
        sample = dataset[positions[score.image_id]]
        assert sample.panoptic is not None  # it has been scored
        pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
        with inference(model):
            prediction = predict_sample(model, sample, device)
        yield Example(score, pixels, sample.panoptic, prediction)


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
        image = None
        if images is not None:
            pixels = read_image(images.path(score.file_name), truth.ids.shape)
            image = pixels.permute(1, 2, 0).contiguous().numpy()
        yield Example(score, image, truth, prediction)
