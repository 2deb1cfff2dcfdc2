"""Panoptic FPN's weights from detectron2, and its box and mask part from torchvision's Mask R-CNN."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from pisr_core.backbones import PIXEL_STD
from pisr_core.data.categories import known_categories
from pisr_core.weights.public.detectron2 import from_detectron2_deeplab

_HEADS = "initial_heads.regions.heads"

_DETECTRON2 = (
    (r"^backbone\.fpn_lateral(\d)\.", lambda found: f"pyramid.network.inner_blocks.{int(found[1]) - 2}.0."),
    (r"^backbone\.fpn_output(\d)\.", lambda found: f"pyramid.network.layer_blocks.{int(found[1]) - 2}.0."),
    (r"^proposal_generator\.rpn_head\.conv\.", "proposals.network.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "proposals.network.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "proposals.network.head.bbox_pred."),
    (r"^roi_heads\.box_head\.fc([12])\.", lambda found: f"{_HEADS}.box_head.fc{int(found[1]) + 5}."),
    (r"^roi_heads\.box_predictor\.", f"{_HEADS}.box_predictor."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda found: f"{_HEADS}.mask_head.{int(found[1]) - 1}.0."),
    (r"^roi_heads\.mask_head\.deconv\.", f"{_HEADS}.mask_predictor.conv5_mask."),
    (r"^roi_heads\.mask_head\.predictor\.", f"{_HEADS}.mask_predictor.mask_fcn_logits."),
    (r"^sem_seg_head\.predictor\.", "initial_heads.semantic."),
    (r"^sem_seg_head\.(p\d)\.(\d)\.norm\.", r"semantic_branch.levels.\1.\2.1."),
    (r"^sem_seg_head\.(p\d)\.(\d)\.", r"semantic_branch.levels.\1.\2.0."),
)

_TORCHVISION = (
    # Its files are older than the nesting of some blocks.
    (r"^backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(?:0\.)?", r"pyramid.network.\1_blocks.\2.0."),
    (r"^rpn\.head\.conv\.(?:0\.0\.)?", "proposals.network.head.conv.0.0."),
    (r"^rpn\.", "proposals.network."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda found: f"{_HEADS}.mask_head.{int(found[1]) - 1}.0."),
    (r"^roi_heads\.", f"{_HEADS}."),
)

COCO_IDS = 91
"""Outputs of torchvision's detectors: one for each id up to COCO's largest, many of which stand for nothing."""


def from_detectron2_panoptic_fpn(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A public Panoptic FPN's tensors under the names of `PanopticFPN` and in torchvision's form.

    Torchvision counts the background first, detectron2 last and, for boxes and masks, not at all. The public models
    read BGR values that are not divided by their standard deviation.
    """
    return dict(_from_detectron2(name, tensor) for name, tensor in state.items())


def _from_detectron2(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    if name.startswith("backbone.bottom_up."):
        ((renamed, _),) = from_detectron2_deeplab({name.replace("bottom_up.", ""): tensor}).items()
        return renamed, _for_normalised_rgb(tensor) if renamed == "backbone.body.conv1.weight" else tensor
    renamed = _rename(name, _DETECTRON2)
    if ".box_predictor.cls_score." in renamed:
        return renamed, tensor.roll(1, dims=0)
    if ".box_predictor.bbox_pred." in renamed:
        return renamed, torch.cat((torch.zeros_like(tensor[:4]), tensor))
    if ".mask_fcn_logits." in renamed:
        return renamed, torch.cat((torch.zeros_like(tensor[:1]), tensor))
    return renamed, tensor


def _for_normalised_rgb(weight: Tensor) -> Tensor:
    """The first convolution on BGR values, as one on RGB values that were divided by their standard deviation."""
    return weight.flip(1) * torch.tensor(PIXEL_STD).view(1, 3, 1, 1)


def from_torchvision_mask_rcnn(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A torchvision Mask R-CNN's tensors under the names of `PanopticFPN`; COCO's 80 things of its 91 outputs."""
    return {_rename(name, _TORCHVISION): _select_things(name, tensor) for name, tensor in state.items()}


def _select_things(name: str, tensor: Tensor) -> Tensor:
    rows = [0] + [category.id for category in known_categories("coco") if category.isthing]
    if re.search(r"\.(cls_score|mask_fcn_logits)\.", name) and len(tensor) == COCO_IDS:
        return tensor[rows]
    if ".bbox_pred." in name and len(tensor) == 4 * COCO_IDS:
        return tensor.unflatten(0, (COCO_IDS, 4))[rows].flatten(0, 1)
    return tensor


def _rename(name: str, patterns: Sequence[tuple]) -> str:
    for pattern, new in patterns:
        name, hits = re.subn(pattern, new, name)
        if hits:
            break
    return name
