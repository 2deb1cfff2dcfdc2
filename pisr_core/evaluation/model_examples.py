"""Images of an evaluation of a model to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from pisr_core.evaluation.examples import Example
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.metrics.worst import ImageScore
from pisr_core.models import PanopticModel
from pisr_core.structures import PanopticDataset


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
