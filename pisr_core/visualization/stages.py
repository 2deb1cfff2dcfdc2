"""What a prediction stage says of an image, in the same terms for every architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models import PanopticModel
from pisr_core.models.boxes.instances import box_instances
from pisr_core.models.boxes.structures import FPNPrediction
from pisr_core.models.center_offset.instances import center_instances, top_centers
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.queries.instances import mask_instances
from pisr_core.models.queries.merging import semantic_inference
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.models.resizing import STRIDE, to_output_size
from pisr_core.structures import PanopticSegmentation

NO_CLASS = -1
"""Class of an instance whose map is empty."""


@dataclass(frozen=True)
class StageMaps:
    """One stage's predictions for one image, on the stride-4 grid.

    Attributes:
        classes: how sure the stage is of each class at each cell, in [0, 1].
        instances: I, the most confident first.
        instance_classes: position of each instance's class, or `NO_CLASS`.
        instance_scores: their confidence, in [0, 1].
        center_heatmap: M, `None` for architectures without centres.
        peaks: (y, x) cell of each instance's centre, `None` for architectures without.
    """

    classes: Float[Tensor, "n h w"]
    instances: Float[Tensor, "k h w"]
    instance_classes: Int[Tensor, " k"]
    instance_scores: Float[Tensor, " k"]
    center_heatmap: Float[Tensor, "h w"] | None = None
    peaks: Int[Tensor, "k 2"] | None = None

    def instances_of(self, category: int) -> list[int]:
        """Rows of the instances of a class, the most confident first."""
        return (self.instance_classes == category).nonzero().flatten().tolist()


@dataclass(frozen=True)
class ImageMaps:
    """What a model computed on its way to one image's panoptic map; m = n + k categories, the classes first.

    Attributes:
        image: RGB, at its own size.
        input_size: (H, W) of the network's input without padding, pixels.
        panoptic: the final map.
        final: the final stage, the only one of a base model.
        initial: the stage before the relation, `None` for a base model.
        weights: ω of each category, `None` where the relation has none.
        signals: F_sp of each category, `None` for relations other than PISR.
    """

    image: UInt8[np.ndarray, "H W 3"]
    input_size: tuple[int, int]
    panoptic: PanopticSegmentation
    final: StageMaps
    initial: StageMaps | None = None
    weights: Float[Tensor, " m"] | None = None
    signals: Float[Tensor, "m h w"] | None = None

    @property
    def encoded(self) -> StageMaps:
        """The stage whose classes and instances the relation encodes; the only one of a base model."""
        return self.final if self.initial is None else self.initial

    def at_image_size(self, grid: Float[Tensor, "h w"]) -> Float[np.ndarray, "H W"]:
        """One map of the grid, upsampled bilinearly to the image."""
        size = (self.image.shape[0], self.image.shape[1])
        return to_output_size(grid[None].float(), self.input_size, size)[0].cpu().numpy()

    def at_image_points(self, cells: Int[Tensor, "p 2"]) -> Float[np.ndarray, "p 2"]:
        """(y, x) in pixels of the image of the middles of the grid's cells."""
        scale = np.array(self.image.shape[:2], np.float32) / np.array(self.input_size, np.float32)
        return (cells.cpu().numpy().astype(np.float32) + 0.5) * STRIDE * scale - 0.5


def stage_maps(model: PanopticModel, prediction: Any) -> StageMaps:
    """One stage's prediction for a batch of one image, as the model's own functions read it.

    Raises:
        TypeError: the prediction is of no known architecture.
    """
    match prediction:
        case CenterOffsetPrediction():
            return _from_centers(model, prediction)
        case MaskPrediction():
            return _from_queries(model, prediction)
        case FPNPrediction():
            return _from_detections(model, prediction)
    raise TypeError(f"no heatmaps of a {type(prediction).__name__}")


def _from_centers(model: PanopticModel, prediction: CenterOffsetPrediction) -> StageMaps:
    """An instance's class is that of which its map holds most."""
    relation, things = model.config.relation, model.thing_ids
    k = relation.top_k if things else 0
    probabilities = prediction.semantic.probabilities[0]
    scores, peaks = top_centers(prediction.center_heatmap, k)
    instances = center_instances(prediction, things, k, relation.instance_radius, relation.thing_mask)[0]
    return StageMaps(
        probabilities,
        instances,
        _majority(instances, probabilities, things),
        scores[0].clamp(max=1),
        prediction.center_heatmap[0, 0],
        peaks[0],
    )


def _majority(
    instances: Float[Tensor, "k h w"], probabilities: Float[Tensor, "n h w"], things: tuple[int, ...]
) -> Int[Tensor, " k"]:
    if not len(instances):
        return torch.zeros(0, dtype=torch.long, device=instances.device)
    ids = torch.tensor(things, device=instances.device)
    votes = instances.flatten(1) @ probabilities[ids].flatten(1).T
    return ids[votes.argmax(dim=1)].where(votes.amax(dim=1) > 0, NO_CLASS)


def _from_queries(model: PanopticModel, prediction: MaskPrediction) -> StageMaps:
    class_logits = prediction.class_logits[0]
    k = min(model.config.relation.top_k, len(class_logits))
    confidence, classes = class_logits.softmax(dim=1)[:, :-1].max(dim=1)
    scores, order = confidence.topk(k)
    # A sum over queries can exceed 1.
    evidence = semantic_inference(class_logits, prediction.mask_logits[0]).clamp(max=1)
    return StageMaps(evidence, mask_instances(prediction, k)[0], classes[order], scores)


def _from_detections(model: PanopticModel, prediction: FPNPrediction) -> StageMaps:
    """S knows stuff only: a thing's evidence is the highest of its detections' pasted masks × scores."""
    probabilities = prediction.semantic.probabilities[0]
    things = torch.tensor(model.thing_ids, dtype=torch.long, device=probabilities.device)
    stuff = [index for index in range(len(model.categories)) if index not in model.thing_ids]
    classes = probabilities.new_zeros(len(model.categories), *probabilities.shape[1:])
    classes[stuff] = probabilities[1:]
    k, found = model.config.relation.top_k, prediction.detections
    if not found:
        return StageMaps(classes, classes[:0], things[:0], classes.new_zeros(0))
    instances = box_instances(found, k, (classes.shape[1], classes.shape[2]))[0]
    labels, scores = things[found[0].labels[:k]], found[0].scores[:k]
    for category in labels.unique().tolist():
        classes[category] = instances[: len(labels)][labels == category].amax(dim=0)
    absent = k - len(labels)
    return StageMaps(classes, instances, F.pad(labels, (0, absent), value=NO_CLASS), F.pad(scores, (0, absent)))
