"""Box-based predictions from several views of an image as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torchvision.ops import batched_nms

from pisr_core.models.boxes.structures import Detections, FPNPrediction
from pisr_core.models.views import View, mean_maps, semantic_of

SAME_INSTANCE = 0.5
"""IoU of boxes above which two detections of a class are one, within a view as between views."""


def undo_view(prediction: FPNPrediction, view: View) -> FPNPrediction:
    """What was predicted from a view, on the images' grid and in their pixels."""
    return FPNPrediction(
        semantic_of(view.undo(prediction.semantic.probabilities)),
        pyramid={},
        detections=tuple(undo_detections(found, view) for found in prediction.detections),
    )


def undo_detections(found: Detections, view: View) -> Detections:
    """Detections in a view as detections in the image."""
    boxes, masks = found.boxes, found.masks
    if view.mirrored:
        x1, y1, x2, y2 = boxes.unbind(1)
        boxes, masks = torch.stack((view.size[1] - x2, y1, view.size[1] - x1, y2), dim=1), masks.flip(2)
    return replace(found, boxes=boxes * boxes.new_tensor((*view.scale[::-1], *view.scale[::-1])), masks=masks)


def mean_of_views(predictions: Sequence[FPNPrediction]) -> FPNPrediction:
    """The mean of the class probabilities; of detections of one instance the most confident."""
    by_image = zip(*(each.detections for each in predictions), strict=True)
    semantic = semantic_of(mean_maps([each.semantic.probabilities for each in predictions]))
    return FPNPrediction(semantic, pyramid={}, detections=tuple(map(_distinct, by_image)))


def _distinct(found: Sequence[Detections]) -> Detections:
    boxes, scores, labels, masks = (
        torch.cat([getattr(each, name) for each in found]) for name in ("boxes", "scores", "labels", "masks")
    )
    kept = batched_nms(boxes, scores, labels, SAME_INSTANCE)
    return Detections(boxes[kept], scores[kept], labels[kept], masks[kept])
