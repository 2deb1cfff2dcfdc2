"""Panoptic FPN's public names and forms at the public widths; most tensors have no memory."""

import pytest
import torch
import torchvision
from torch.nn import functional as F

from pisr_core import presets
from pisr_core.backbones import PIXEL_STD
from pisr_core.data.categories import known_categories
from pisr_core.models import build_model
from pisr_core.weights.public.layouts import LAYOUTS, detect_layout, rename_tensors
from pisr_core.weights.public.panoptic_fpn import from_detectron2_panoptic_fpn, from_torchvision_mask_rcnn

HEADS = "initial_heads.regions.heads."


@pytest.fixture(scope="module")
def shapes():
    """Of the base model's tensors."""
    config = presets.load("coco-pfpn-r50-baseline", ["backbone.pretrained=false"])
    with torch.device("meta"):
        model = build_model(config, known_categories("coco"))
    state = model.state_dict()
    return {name: tuple(t.shape) for name, t in state.items() if not name.endswith("num_batches_tracked")}


def detectron2_shapes():
    """Names and shapes of the public R-50 configuration."""
    shapes = {"backbone.bottom_up.stem.conv1.weight": (64, 3, 7, 7)}

    def conv(name, out, size, norm=True, bias=False):
        shapes[f"{name}.weight"] = (out, *size)
        if bias:
            shapes[f"{name}.bias"] = (out,)
        if norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.norm.{part}"] = (out,)

    def plain(name, out, *size):
        conv(name, out, size, norm=False, bias=True)

    conv("backbone.bottom_up.stem.conv1", 64, (3, 7, 7))
    width = 64
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        inner, outer = 64 * 2 ** (stage - 2), 256 * 2 ** (stage - 2)
        for block in range(blocks):
            name = f"backbone.bottom_up.res{stage}.{block}"
            if block == 0:
                conv(f"{name}.shortcut", outer, (width, 1, 1))
            conv(f"{name}.conv1", inner, (width, 1, 1))
            conv(f"{name}.conv2", inner, (inner, 3, 3))
            conv(f"{name}.conv3", outer, (inner, 1, 1))
            width = outer
        plain(f"backbone.fpn_lateral{stage}", 256, outer, 1, 1)
        plain(f"backbone.fpn_output{stage}", 256, 256, 3, 3)
    plain("proposal_generator.rpn_head.conv", 256, 256, 3, 3)
    plain("proposal_generator.rpn_head.objectness_logits", 3, 256, 1, 1)
    plain("proposal_generator.rpn_head.anchor_deltas", 12, 256, 1, 1)
    plain("roi_heads.box_head.fc1", 1024, 12544)
    plain("roi_heads.box_head.fc2", 1024, 1024)
    plain("roi_heads.box_predictor.cls_score", 81, 1024)
    plain("roi_heads.box_predictor.bbox_pred", 320, 1024)
    for index in range(1, 5):
        plain(f"roi_heads.mask_head.mask_fcn{index}", 256, 256, 3, 3)
    plain("roi_heads.mask_head.deconv", 256, 256, 2, 2)
    plain("roi_heads.mask_head.predictor", 80, 256, 1, 1)
    for level, count in (("p2", 1), ("p3", 1), ("p4", 2), ("p5", 3)):
        for index in range(count):
            name, channels = f"sem_seg_head.{level}.{2 * index}", 256 if index == 0 else 128
            shapes[f"{name}.weight"] = (128, channels, 3, 3)
            shapes[f"{name}.norm.weight"] = shapes[f"{name}.norm.bias"] = (128,)
    plain("sem_seg_head.predictor", 54, 128, 1, 1)
    return shapes


def test_detectron2s_tensors_fill_the_whole_base(tmp_path, shapes):
    # The first convolution's form is computed with real numbers.
    state = {
        name: torch.empty(shape, device="cpu" if ".stem.conv1.weight" in name else "meta")
        for name, shape in detectron2_shapes().items()
    }
    found = detect_layout(tmp_path, state)
    assert found.source == "detectron2's Panoptic FPN" and found.layout.architecture == "panoptic_fpn"
    assert {name: tuple(t.shape) for name, t in rename_tensors(tmp_path, found).items()} == shapes


def test_torchvisions_tensors_fill_all_but_the_semantic_branch(tmp_path, shapes):
    with torch.device("meta"):
        detector = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    state = {name: t for name, t in detector.state_dict().items() if not name.endswith("num_batches_tracked")}
    found = detect_layout(tmp_path, state)
    assert found.source == "torchvision's Mask R-CNN"
    expected = {n: s for n, s in shapes.items() if not n.startswith(("semantic_branch.", "initial_heads.semantic."))}
    assert {name: tuple(t.shape) for name, t in rename_tensors(tmp_path, found).items()} == expected


def test_the_public_file_has_older_names():
    names = {
        "backbone.fpn.inner_blocks.3.bias": "pyramid.network.inner_blocks.3.0.bias",
        "rpn.head.conv.weight": "proposals.network.head.conv.0.0.weight",
        "roi_heads.mask_head.mask_fcn4.weight": HEADS + "mask_head.3.0.weight",
    }
    assert list(from_torchvision_mask_rcnn(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())


def test_the_background_comes_first():
    """Detectron2: three things, then the background, which boxes and masks lack."""
    state = {
        "roi_heads.box_predictor.cls_score.bias": torch.tensor([1.0, 2, 3, 9]),
        "roi_heads.box_predictor.bbox_pred.bias": torch.arange(12.0),
        "roi_heads.mask_head.predictor.bias": torch.tensor([4.0, 5, 6]),
    }
    ours = from_detectron2_panoptic_fpn(state)
    assert ours[HEADS + "box_predictor.cls_score.bias"].tolist() == [9, 1, 2, 3]
    assert ours[HEADS + "box_predictor.bbox_pred.bias"].tolist() == [0, 0, 0, 0, *range(12)]
    assert ours[HEADS + "mask_predictor.mask_fcn_logits.bias"].tolist() == [0, 4, 5, 6]


def test_torchvisions_outputs_are_chosen_by_cocos_ids():
    ids = torch.arange(91.0)
    state = {
        "roi_heads.box_predictor.cls_score.bias": ids,
        "roi_heads.box_predictor.bbox_pred.bias": ids.repeat_interleave(4)
        + torch.tensor([0, 0.1, 0.2, 0.3]).repeat(91),
        "roi_heads.box_predictor.cls_score.weight": torch.zeros(6, 2),
    }
    ours = from_torchvision_mask_rcnn(state)
    chosen = ours[HEADS + "box_predictor.cls_score.bias"]
    assert len(chosen) == 81 and chosen[[0, 1, 12, 80]].tolist() == [0, 1, 13, 90]
    torch.testing.assert_close(
        ours[HEADS + "box_predictor.bbox_pred.bias"][48:52], torch.tensor([13, 13.1, 13.2, 13.3])
    )
    assert len(ours[HEADS + "box_predictor.cls_score.weight"]) == 6, "other data's classes stay"


def test_the_first_convolution_reads_normalised_rgb():
    weight = torch.randn(4, 3, 7, 7)
    bgr = torch.randn(1, 3, 20, 20) * 60  # the mean is taken away already
    rgb = bgr.flip(1) / torch.tensor(PIXEL_STD).view(1, 3, 1, 1)
    ours = from_detectron2_panoptic_fpn({"backbone.bottom_up.stem.conv1.weight": weight})
    from_rgb = F.conv2d(rgb, ours["backbone.body.conv1.weight"], padding=3)
    torch.testing.assert_close(from_rgb, F.conv2d(bgr, weight, padding=3), rtol=1e-3, atol=1e-3)


def test_each_architecture_but_upernet_has_a_layout():
    assert {layout.architecture for layout in LAYOUTS.values()} == {
        "",
        "panoptic_deeplab",
        "maskformer",
        "panoptic_fpn",
    }
