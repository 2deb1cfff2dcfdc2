"""Box-based models as exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from pisr_core.config import Config
from pisr_core.models.boxes.fixed_regions import fixed_detections, fixed_proposals
from pisr_core.models.boxes.instances import box_instances, paste_masks
from pisr_core.models.boxes.pyramid import relate_pyramid
from pisr_core.models.boxes.structures import Detections, FPNOutput
from pisr_core.models.exportable import VOID, ExportableNetwork, PanopticMaps, count, enlarge, instance_numbers
from pisr_core.structures import SemanticPrediction

DETECTION_OUTPUTS = ("boxes", "scores", "labels", "masks")


class RegionNetwork(ExportableNetwork):
    """The forward pass of Panoptic FPN with proposals and detections of fixed numbers, image by image."""

    free_batch = False
    raw_outputs = {
        "semantic_logits": "(batch, 1 + stuff classes, height / 4, width / 4) float32: class 0 for all things",
        "boxes": "(batch, detections, 4) float32: (x1, y1, x2, y2), pixels",
        "scores": "(batch, detections) float32: in descending order, 0 for absent ones",
        "labels": "(batch, detections) int64: position of the class among `thing_ids`",
        "masks": "(batch, detections, 28, 28) float32: probabilities on a grid that fills the box",
    }

    @property
    def smallest(self) -> int:
        """Below, the coarsest level has a single cell, for which `torch.export` traces another graph."""
        return 3

    def predict(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """The final stage's S and detections."""
        model, size = self.model, (images.shape[2], images.shape[3])
        pyramid = model.pyramid(model.backbone(model.normalize(images)))
        features = torch.cat((model.semantic_branch(pyramid), pyramid["p2"]), dim=1)
        boxes, scores = fixed_proposals(model.proposals, pyramid, size)
        heads = model.initial_heads
        if model.relation is not None and model.final_heads is not None:
            semantic = _semantic(heads, features)
            instances = pyramid["p2"][:, :0]
            if model.relation.uses_instances:
                found = fixed_detections(heads.regions, pyramid, boxes, scores, size)
                instances = box_instances(found, model.config.relation, tuple(pyramid["p2"].shape[2:]))
            features = model.relation(features, semantic, instances)
            pyramid = relate_pyramid(pyramid, features[:, model.config.fpn.semantic_channels :])
            heads = model.final_heads
        found = fixed_detections(heads.regions, pyramid, boxes, scores, size)
        return self._named(_semantic(heads, features).logits, found)

    def raw(self, output: FPNOutput) -> dict[str, Tensor]:
        """The final stage's S and detections, filled up with zeros."""
        return self._named(
            output.final.semantic.logits,
            [_padded(found, self.model.config.fpn.detections) for found in output.final.detections],
        )

    def aligned(self, actual: dict[str, np.ndarray], expected: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Each detection beside the nearest of its class: of nearly equal scores any may come first."""
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        if self.merging or not np.isfinite(actual["boxes"]).all():
            return actual
        rows = [
            linear_sum_assignment(cdist(e, a, "cityblock") + 1e6 * (le[:, None] != la))[1]
            for e, a, le, la in zip(
                expected["boxes"].numpy(), actual["boxes"], expected["labels"].numpy(), actual["labels"], strict=True
            )
        ]
        ordered = {
            name: np.stack([v[r] for v, r in zip(actual[name], rows, strict=True)]) for name in DETECTION_OUTPUTS
        }
        return actual | ordered

    def _named(self, logits: Tensor, detections: Sequence[Detections]) -> dict[str, Tensor]:
        columns = [torch.stack([getattr(found, name) for found in detections]) for name in DETECTION_OUTPUTS]
        return dict(zip(type(self).raw_outputs, (logits, *columns), strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Detections on top of the stuff."""
        model = self.model
        detections = tuple(
            Detections(*one) for one in zip(raw["boxes"], raw["scores"], raw["labels"], raw["masks"], strict=True)
        )
        semantic = enlarge(raw["semantic_logits"]).argmax(dim=1)
        return merge_boxes(semantic, detections, model.thing_ids, model.stuff_ids, model.config)


def _padded(found: Detections, count: int) -> Detections:
    """Exactly so many detections, absent ones zero."""
    missing = count - len(found.scores)
    return Detections(
        F.pad(found.boxes, (0, 0, 0, missing)),
        F.pad(found.scores, (0, missing)),
        F.pad(found.labels, (0, missing)),
        F.pad(found.masks, (0, 0, 0, 0, 0, missing)),
    )


def _semantic(heads: Any, features: Float[Tensor, "b c h w"]) -> SemanticPrediction:
    """S of one stage of Panoptic FPN."""
    return SemanticPrediction.from_logits(heads.semantic(features[:, : heads.semantic_channels]))


def merge_boxes(
    semantic: Int[Tensor, "b H W"],
    detections: Sequence[Detections],
    thing_ids: Sequence[int],
    stuff_ids: Sequence[int],
    config: Config,
) -> PanopticMaps:
    """`merge_fpn`, with a fixed number of detections of which some may be absent, that is, score 0.

    Args:
        semantic: 0 for things, else 1 + position among the stuff classes.
        detections: of each image, the most confident first; boxes in pixels of the map.
        thing_ids: positions of the thing classes.
        stuff_ids: positions of the stuff classes.
        config: thresholds; the smallest stuff is a share of the map's pixels.
    """
    scores, labels, boxes, masks = (
        torch.stack([getattr(found, name) for found in detections]) for name in ("scores", "labels", "boxes", "masks")
    )
    owner, stays = _stack(
        masks, boxes, scores.double() >= config.fpn.merge_threshold, semantic, config.fpn.merge_overlap
    )
    classes = torch.tensor((*thing_ids, VOID), device=labels.device)[labels]
    number = instance_numbers(labels, stays, len(thing_ids))
    free = owner == scores.shape[1]
    # A last row for the pixels without an instance.
    category = F.pad(classes, (0, 1)).gather(1, owner.flatten(1)).view_as(owner)
    instance = F.pad(number, (0, 1)).gather(1, owner.flatten(1)).view_as(owner)
    areas = count(semantic.flatten(1), 1 + len(stuff_ids), free.flatten(1))
    pixels = count(semantic.flatten(1), 1 + len(stuff_ids)).sum(dim=1, keepdim=True)
    visible = areas >= torch.round(config.merge.stuff_area * pixels.double()).clamp(min=1)
    stuff = torch.tensor((VOID, *stuff_ids), device=labels.device)[semantic]
    stuff = stuff.where(visible.gather(1, semantic.flatten(1)).view_as(semantic), VOID)
    return torch.where(free, stuff, category), instance.where(~free, 0)


def _stack(
    masks: Float[Tensor, "b k m m"],
    boxes: Float[Tensor, "b k 4"],
    confident: Bool[Tensor, "b k"],
    like: Int[Tensor, "b H W"],
    overlap: float,
) -> tuple[Int[Tensor, "b H W"], Bool[Tensor, "b k"]]:
    """`stack_instances`, pasting one mask at a time: the detection of each pixel (k for none), and which ones stay."""
    k, size = masks.shape[1], (like.shape[1], like.shape[2])
    owner, stays = torch.full_like(like, k), []
    for position in range(k):
        mask = paste_masks(masks[:, position], boxes[:, position], size) >= 0.5
        area, hidden = mask.sum(dim=(1, 2)), (mask & (owner < k)).sum(dim=(1, 2))
        # In double precision, for a share that equals the threshold stays.
        stays.append(confident[:, position] & (area > 0) & (hidden.double() / area.clamp(min=1) <= overlap))
        owner = torch.where(mask & (owner == k) & stays[-1][:, None, None], position, owner)
    return owner, torch.stack(stays, dim=1)
