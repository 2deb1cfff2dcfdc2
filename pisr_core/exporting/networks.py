"""The models as graphs: RGB images in, named tensors out, with or without the merging to a panoptic map."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.errors import ExportError
from pisr_core.exporting.merging import PanopticMaps, merge_boxes, merge_centers, merge_queries
from pisr_core.exporting.regions import fixed_detections, fixed_proposals
from pisr_core.models import MaskFormer, PanopticDeepLab, PanopticFPN, PanopticModel
from pisr_core.models.boxes.instances import box_instances
from pisr_core.models.boxes.panoptic_fpn import FPNHeads
from pisr_core.models.boxes.pyramid import relate_pyramid
from pisr_core.models.boxes.structures import Detections, FPNOutput
from pisr_core.models.center_offset.merging import VOID
from pisr_core.models.center_offset.model import CenterOffsetModel
from pisr_core.models.center_offset.structures import CenterOffsetOutput
from pisr_core.models.queries.structures import MaskOutput
from pisr_core.models.resizing import STRIDE
from pisr_core.structures import PanopticResult, SemanticPrediction

PANOPTIC_OUTPUTS = {
    "category": "(batch, height, width) int32: position of each pixel's class in `categories`, -1 for none",
    "instance": "(batch, height, width) int32: number of the instance, from 1 within each class, 0 for stuff and none",
}

LARGEST_SIDE = 1 << 14
"""Pixels."""

DETECTION_OUTPUTS = ("boxes", "scores", "labels", "masks")


class ExportableNetwork(nn.Module, ABC):
    """What is exported of a model: `forward` gives a dictionary of tensors by the names of `outputs`.

    Args:
        model: in evaluation mode, on the CPU.
        merging: give the panoptic map; else the final stage's predictions.

    Attributes:
        raw_outputs: what each output holds without merging.
        free_batch: whether the number of images may be left open.
    """

    raw_outputs: dict[str, str]
    free_batch = True

    def __init__(self, model: PanopticModel, merging: bool) -> None:
        super().__init__()
        self.model = model
        self.merging = merging

    @property
    def outputs(self) -> dict[str, str]:
        """What each output holds."""
        return PANOPTIC_OUTPUTS if self.merging else self.raw_outputs

    def forward(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """Predictions for RGB images whose sides are multiples of the model's size divisor."""
        raw = self.predict(images)
        if not self.merging:
            return raw
        maps = (maps.to(torch.int32) for maps in self.merge(raw))
        return dict(zip(PANOPTIC_OUTPUTS, maps, strict=True))

    @classmethod
    def smallest(cls, model: Any) -> int:
        """Size divisors on the shortest side that a model's file takes."""
        return 2

    def free_range(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """The (lowest, highest) height and width in pixels that one graph serves, when traced at `size`."""
        divisor = self.model.size_divisor
        side = (self.smallest(self.model) * divisor, LARGEST_SIDE // divisor * divisor)
        return side, side

    @torch.no_grad()
    def reference(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """What the outputs should be: from the model and its merging as `pisr predict` runs them."""
        output = self.model(images)
        if not self.merging:
            return self.raw(output)
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        maps = [_maps(result, self.model.thing_ids) for result in self.model.panoptic(output, sizes, sizes)]
        return dict(zip(PANOPTIC_OUTPUTS, map(torch.stack, zip(*maps, strict=True)), strict=True))

    @abstractmethod
    def raw(self, output: Any) -> dict[str, Tensor]:
        """The final stage's predictions from the model's output."""

    def aligned(self, actual: dict[str, np.ndarray], expected: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """A file's outputs in the order of the reference's, where the order says nothing."""
        return actual

    def predict(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """The final stage's predictions, by steps that can be traced."""
        return self.raw(self.model(images))

    @abstractmethod
    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """The panoptic maps that follow from `predict`."""


class CenterOffsetNetwork(ExportableNetwork):
    """Panoptic-DeepLab and UPerNet."""

    model: CenterOffsetModel
    raw_outputs = {
        "semantic_logits": "(batch, classes, height / 4, width / 4) float32",
        "center_heatmap": "(batch, 1, height / 4, width / 4) float32: about 0 to 1",
        "offset": "(batch, 2, height / 4, width / 4) float32: (y, x) to the instance's centre, cells of 4 pixels",
    }

    @classmethod
    def smallest(cls, model: CenterOffsetModel) -> int:
        """Enough cells for the relation's K centres: with fewer of them `torch.export` traces another graph."""
        return max(2, math.ceil(4 * math.sqrt(model.config.relation.top_k) / model.size_divisor))

    def free_range(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Sides up to the pooling window or beyond it, as `size` is: `torch.export` traces another graph there."""
        sides, divisor = super().free_range(size), self.model.size_divisor
        windows = self.model.config.deeplab.pool_window if isinstance(self.model, PanopticDeepLab) else ()
        ranges = []
        for length, (low, high), window in zip(size, sides, windows or size, strict=True):
            within = window // divisor * divisor
            ranges.append((low, min(within, high)) if length <= within else (max(low, within + divisor), high))
        return (ranges[0], ranges[1]) if windows else sides

    def raw(self, output: CenterOffsetOutput) -> dict[str, Tensor]:
        """S, M and O."""
        final = output.final
        values = (final.semantic.logits, final.center_heatmap, final.offset)
        return dict(zip(self.raw_outputs, values, strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Pixels to centres."""
        logits, center, offset = (_enlarge(raw[name]) for name in self.raw_outputs)
        model = self.model
        semantic = logits.argmax(dim=1)
        return merge_centers(
            semantic, center[:, 0], STRIDE * offset, model.thing_ids, len(model.categories), model.config.merge
        )


class MaskNetwork(ExportableNetwork):
    """MaskFormer."""

    model: MaskFormer
    raw_outputs = {
        "class_logits": "(batch, queries, classes + 1) float32: the last class stands for no object",
        "mask_logits": "(batch, queries, height / 4, width / 4) float32: of the sigmoid",
    }

    def raw(self, output: MaskOutput) -> dict[str, Tensor]:
        """Classes and masks of the queries."""
        return dict(zip(self.raw_outputs, (output.final.class_logits, output.final.mask_logits), strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Pixels to queries."""
        config = self.model.config.maskformer
        return merge_queries(
            raw["class_logits"],
            raw["mask_logits"],
            self.model.thing_ids,
            scale=STRIDE,
            object_mask_threshold=config.object_mask_threshold,
            overlap_threshold=config.overlap_threshold,
        )


class RegionNetwork(ExportableNetwork):
    """Panoptic FPN: its own forward with proposals and detections of fixed numbers, image by image."""

    model: PanopticFPN
    free_batch = False
    raw_outputs = {
        "semantic_logits": "(batch, 1 + stuff classes, height / 4, width / 4) float32: class 0 for all things",
        "boxes": "(batch, detections, 4) float32: (x1, y1, x2, y2), pixels",
        "scores": "(batch, detections) float32: in descending order, 0 for absent ones",
        "labels": "(batch, detections) int64: position of the class among `thing_ids`",
        "masks": "(batch, detections, 28, 28) float32: probabilities on a grid that fills the box",
    }

    @classmethod
    def smallest(cls, model: PanopticFPN) -> int:
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
                instances = box_instances(found, model.config.relation.top_k, tuple(pyramid["p2"].shape[2:]))
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
        return dict(zip(self.raw_outputs, (logits, *columns), strict=True))

    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """Detections on top of the stuff."""
        model = self.model
        detections = tuple(
            Detections(*one) for one in zip(raw["boxes"], raw["scores"], raw["labels"], raw["masks"], strict=True)
        )
        semantic = _enlarge(raw["semantic_logits"]).argmax(dim=1)
        return merge_boxes(semantic, detections, model.thing_ids, model.stuff_ids, model.config)


def network_kind(model: PanopticModel) -> type[ExportableNetwork]:
    """The graph of a model's architecture.

    Raises:
        ExportError: nobody wrote one.
    """
    for architecture, network in NETWORKS.items():
        if isinstance(model, architecture):
            return network
    known = ", ".join(architecture.__name__ for architecture in NETWORKS)
    raise ExportError(f"{type(model).__name__} cannot be exported. Those that can: {known}.")


NETWORKS: dict[type, type[ExportableNetwork]] = {
    CenterOffsetModel: CenterOffsetNetwork,
    MaskFormer: MaskNetwork,
    PanopticFPN: RegionNetwork,
}
"""By the model's class."""


def _maps(result: PanopticResult, thing_ids: Sequence[int]) -> tuple[Int[Tensor, "H W"], Int[Tensor, "H W"]]:
    """The two maps of `PANOPTIC_OUTPUTS` from a panoptic map with segment ids."""
    segments = sorted(result.panoptic.segments, key=lambda segment: segment.id)
    rows = 1 + max((segment.id for segment in segments), default=0)
    category, instance = torch.full((rows,), VOID, dtype=torch.int32), torch.zeros(rows, dtype=torch.int32)
    count = Counter[int]()
    for segment in segments:
        category[segment.id] = segment.category
        if segment.category in thing_ids:
            count[segment.category] += 1
            instance[segment.id] = count[segment.category]
    ids = torch.from_numpy(result.panoptic.ids).long()
    return category[ids], instance[ids]


def _padded(found: Detections, count: int) -> Detections:
    """Exactly so many detections, absent ones zero."""
    missing = count - len(found.scores)
    return Detections(
        F.pad(found.boxes, (0, 0, 0, missing)),
        F.pad(found.scores, (0, missing)),
        F.pad(found.labels, (0, missing)),
        F.pad(found.masks, (0, 0, 0, 0, 0, missing)),
    )


def _semantic(heads: FPNHeads, features: Float[Tensor, "b c h w"]) -> SemanticPrediction:
    """S of one stage of Panoptic FPN."""
    return SemanticPrediction.from_logits(heads.semantic(features[:, : heads.semantic_channels]))


def _enlarge(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
    """From the stride-4 grid to pixels."""
    return F.interpolate(maps, scale_factor=STRIDE, mode="bilinear", align_corners=False)
