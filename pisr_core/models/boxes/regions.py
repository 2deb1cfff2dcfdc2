"""Torchvision's region proposals and Mask R-CNN heads, with predictions and losses as separate calls.

Both work in float32 outside autocast: half precision cannot tell neighbouring pixels of a large image apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign

from pisr_core.class_axes import ClassAxes, predictor_axes
from pisr_core.config import FPNConfig
from pisr_core.models.boxes.pyramid import LEVELS
from pisr_core.models.boxes.structures import Detections, FPNProposals, FPNTargets

ASPECT_RATIOS = (0.5, 1.0, 2.0)
BOX_CELLS, MASK_CELLS = 7, 14
"""Cells a side that the box and mask heads read of each box."""


class ProposalNetwork(nn.Module):
    """The region proposal network (Ren et al., NeurIPS 2015) on all levels of the pyramid.

    Args:
        config: widths, anchors and numbers; the thresholds are the public ones.
    """

    def __init__(self, config: FPNConfig) -> None:
        super().__init__()
        sizes = tuple((size,) for size in config.anchor_sizes)
        self.network = RegionProposalNetwork(
            AnchorGenerator(sizes, (ASPECT_RATIOS,) * len(sizes)),
            RPNHead(config.channels, len(ASPECT_RATIOS)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=config.anchor_samples,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2 * config.proposals, "testing": config.proposals},
            post_nms_top_n={"training": config.proposals, "testing": config.proposals},
            nms_thresh=0.7,
        )

    def forward(
        self, images: Shaped[Tensor, "b 3 H W"], pyramid: Mapping[str, Float[Tensor, "b c _ _"]]
    ) -> FPNProposals:
        """Boxes that may hold an instance; of the images only the size is read."""
        network, size = self.network, (images.shape[2], images.shape[3])
        sizes = [size] * len(images)
        with torch.autocast(images.device.type, enabled=False):
            levels = [maps.float() for maps in pyramid.values()]
            objectness, deltas = network.head(levels)
            anchors = network.anchor_generator(ImageList(images, sizes), levels)
            anchors_of_levels = [maps[0].numel() for maps in objectness]
            flat_objectness, flat_deltas = concat_box_prediction_layers(objectness, deltas)
            boxes = network.box_coder.decode(flat_deltas.detach(), anchors).view(len(images), -1, 4)
            kept, _ = network.filter_proposals(boxes, flat_objectness, sizes, anchors_of_levels)
        return FPNProposals(kept, anchors, flat_objectness, flat_deltas, size)

    def losses(self, proposals: FPNProposals, targets: FPNTargets) -> dict[str, Float[Tensor, ""]]:
        """Whether sampled anchors are objects, and where the boxes of those that are lie."""
        network = self.network
        truth = [{"boxes": boxes} for boxes in targets.boxes]
        with torch.autocast(proposals.deltas.device.type, enabled=False):
            labels, matched = network.assign_targets_to_anchors(proposals.anchors, truth)
            wanted = network.box_coder.encode(matched, proposals.anchors)
            objectness, box = network.compute_loss(proposals.objectness, proposals.deltas, labels, list(wanted))
        return {"objectness": objectness, "proposal": box}


class RegionHeads(nn.Module):
    """Mask R-CNN's box and mask heads (He et al., ICCV 2017).

    Args:
        num_things: number of thing classes.
        config: widths and numbers; the thresholds are the public ones.
        detections: the most detections of an image.
    """

    def __init__(self, num_things: int, config: FPNConfig, detections: int) -> None:
        super().__init__()
        width, classes = config.mask_channels, num_things + 1  # 0 is the background
        self.heads = RoIHeads(
            MultiScaleRoIAlign(list(LEVELS), output_size=BOX_CELLS, sampling_ratio=2),
            TwoMLPHead(config.channels * BOX_CELLS**2, config.box_channels),
            FastRCNNPredictor(config.box_channels, classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=config.box_samples,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=config.detection_threshold,
            nms_thresh=0.5,
            detections_per_img=detections,
            mask_roi_pool=MultiScaleRoIAlign(list(LEVELS), output_size=MASK_CELLS, sampling_ratio=2),
            mask_head=MaskRCNNHeads(config.channels, (width,) * 4, dilation=1),
            mask_predictor=MaskRCNNPredictor(width, width, classes),
        )

    def forward(
        self, pyramid: Mapping[str, Float[Tensor, "b c _ _"]], proposals: FPNProposals
    ) -> tuple[Detections, ...]:
        """Each image's detections. Only their masks carry a gradient: boxes are chosen, not computed."""
        with torch.autocast(proposals.deltas.device.type, enabled=False):
            levels = _float32(pyramid)
            boxes, scores, labels = self._boxes(levels, proposals)
            masks = self._masks(levels, boxes, labels, proposals.image_size)
        return tuple(
            Detections(*found) for found in zip(boxes, scores, [label - 1 for label in labels], masks, strict=True)
        )

    @torch.no_grad()
    def _boxes(
        self, levels: dict[str, Tensor], proposals: FPNProposals
    ) -> tuple[list[Float[Tensor, "_ 4"]], list[Float[Tensor, " _"]], list[Int[Tensor, " _"]]]:
        """Boxes, scores and labels (from 1) by descending score."""
        sizes = [proposals.image_size] * len(proposals.boxes)
        regions = self.heads.box_head(self.heads.box_roi_pool(levels, proposals.boxes, sizes))
        logits, deltas = self.heads.box_predictor(regions)
        return self.heads.postprocess_detections(logits, deltas, proposals.boxes, sizes)

    def _masks(
        self, levels: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor], image_size: tuple[int, int]
    ) -> list[Float[Tensor, "_ m m"]]:
        regions = self.heads.mask_head(self.heads.mask_roi_pool(levels, boxes, [image_size] * len(boxes)))
        return [masks[:, 0] for masks in maskrcnn_inference(self.heads.mask_predictor(regions), labels)]

    def losses(
        self,
        pyramid: Mapping[str, Float[Tensor, "b c _ _"]],
        proposals: FPNProposals,
        targets: FPNTargets,
    ) -> dict[str, Float[Tensor, ""]]:
        """Classes and boxes of sampled proposals, and masks of those that hold an instance."""
        truth = [
            {"boxes": boxes, "labels": labels + 1, "masks": masks}
            for boxes, labels, masks in zip(targets.boxes, targets.labels, targets.masks, strict=True)
        ]
        # Torchvision gives losses in training mode only; no layer of the heads depends on it.
        heads, sizes = self.heads.train(), [proposals.image_size] * len(truth)
        with torch.autocast(proposals.deltas.device.type, enabled=False):
            _, losses = heads(_float32(pyramid), proposals.boxes, sizes, truth)
        return {"class": losses["loss_classifier"], "box": losses["loss_box_reg"], "mask": losses["loss_mask"]}

    def class_axes(self, things: Sequence[str]) -> ClassAxes:
        """Those of classes, boxes (four numbers each) and masks; the background stands first."""
        boxes = [name for name in things for _ in range(4)]
        predictors = (("box_predictor.cls_score", things, 1), ("box_predictor.bbox_pred", boxes, 4))
        axes: ClassAxes = {}
        for name, classes, first in (*predictors, ("mask_predictor.mask_fcn_logits", things, 1)):
            axes |= predictor_axes(f"heads.{name}", classes, first)
        return axes


def _float32(pyramid: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: maps.float() for name, maps in pyramid.items()}
