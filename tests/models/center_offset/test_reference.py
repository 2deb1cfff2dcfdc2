"""The public Panoptic-DeepLab's outputs, from its own checkpoints, for every reference case."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from pisr_core.backbones import Backbone, set_multi_grid
from pisr_core.config import BackboneConfig, BranchConfig, Config, DeepLabConfig, MergeConfig, RelationConfig
from pisr_core.models import PanopticDeepLab
from pisr_core.models.center_offset.merging.panoptic import panoptic_labels
from pisr_core.structures import Category
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.public.importing import load_public_weights
from pisr_core.weights.public.layouts import detect_layout, rename_tensors


def branch(head: dict) -> BranchConfig:
    return BranchConfig(head["convs_dim"], tuple(head["project_channels"]), head["head_channels"])


def reference_config(case: dict) -> Config:
    semantic = case["sem_seg_head"]
    return Config(
        backbone=BackboneConfig(
            f"resnet{case['resnet_depth']}s", False, case["output_stride"], tuple(case["res5_multi_grid"])
        ),
        deeplab=DeepLabConfig(
            semantic=branch(semantic),
            instance=branch(case["ins_embed_head"]),
            aspp_channels=semantic["aspp_channels"],
            aspp_dilations=tuple(semantic["aspp_dilations"]),
            pool_window=tuple(case["train_crop"]),
            depthwise_separable=semantic["use_depthwise_separable_conv"],
        ),
        relation=RelationConfig(name="none"),
        merge=MergeConfig(nms_kernel=case["post"]["nms_kernel"], top_k=case["post"]["top_k"]),
    )


def narrow_backbone(case: dict, config: BackboneConfig) -> Backbone:
    """timm's ResNet at a case's widths."""
    body = timm.create_model(
        config.name,
        features_only=True,
        output_stride=config.output_stride,
        stem_width=case["stem_out_channels"] // 2,
        channels=[case["res2_out_channels"] // 4 * 2**i for i in range(4)],
        base_width=64 * case["bottleneck_width"] * 4 // case["res2_out_channels"],
    )
    set_multi_grid(body, config)
    return Backbone(body, config.output_stride)


@pytest.fixture
def reference(panoptic_deeplab_case):
    case = json.loads((panoptic_deeplab_case / "config.json").read_text())
    config = reference_config(case)
    things = set(case["post"]["thing_ids"])
    categories = [Category(i + 1, str(i), i in things) for i in range(case["sem_seg_head"]["num_classes"])]
    model = PanopticDeepLab(config, categories, narrow_backbone(case, config.backbone)).eval()
    weights = panoptic_deeplab_case / "model.pkl"
    model.load_state_dict(rename_tensors(weights, detect_layout(weights, read_tensors(weights))))
    arrays = {name: torch.from_numpy(value) for name, value in np.load(panoptic_deeplab_case / "io.npz").items()}
    return case, model, arrays


def relative_deviation(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_every_tensor_equals_the_public_models(reference, record_property):
    _, model, arrays = reference
    with torch.no_grad():
        image = arrays["image"][None]
        pyramid = model.backbone(model.normalize(image))
        prediction = model(image).final
    ours = {f"backbone_{stage}": pyramid[stage] for stage in ("res2", "res3", "res5")} | {
        "sem_logits_stride4": prediction.semantic.logits,
        "center_stride4": prediction.center_heatmap,
        "offset_stride4": prediction.offset,
    }
    # The public model's offsets are pixels of the image; ours are cells only because × 4 comes with upsampling.
    for name, tensor in ours.items():
        deviation = relative_deviation(tensor[0], arrays[name])
        record_property(name, deviation)
        assert deviation < 1e-4, f"{name}: {deviation:.1e}"


def test_panoptic_map_equals_the_public_models(reference, record_property):
    case, model, arrays = reference
    threshold = float(arrays["center_threshold"])
    height, width = arrays["image"].shape[1:]
    with torch.no_grad():
        output = model(arrays["image"][None])
    maps = {
        name: torch.nn.functional.interpolate(value, scale_factor=4, mode="bilinear", align_corners=False)[0]
        for name, value in {
            "semantic": output.final.semantic.logits,
            "center": output.final.center_heatmap,
            "offset": output.final.offset * 4,
        }.items()
    }
    labels = panoptic_labels(
        maps["semantic"].argmax(0),
        maps["center"][0],
        maps["offset"],
        model.thing_ids,
        center_threshold=threshold,
        nms_kernel=case["post"]["nms_kernel"],
        top_k=case["post"]["top_k"],
        stuff_area=case["post"]["stuff_area"],
    )
    expected = arrays["panoptic"][0]
    differing = (labels != expected).float().mean().item()
    record_property("panoptic, share of pixels", differing)
    assert differing <= 0.001

    share = case["post"]["stuff_area"] / (height * width)
    model.config = replace(
        model.config, merge=replace(model.config.merge, stuff_area=share, center_threshold=threshold)
    )
    (result,) = model.panoptic(output, [(height, width)], [(height, width)])
    classes = np.where(expected.numpy() >= 0, expected.numpy() // case["post"]["label_divisor"], 255)
    assert (result.panoptic.semantic() == classes).mean() >= 0.999


def test_pisr_starts_from_the_public_weights_as_its_base(reference, panoptic_deeplab_case):
    """First and final predictions both equal the base's, bit for bit, while the scale of F_pan is zero."""
    case, base, arrays = reference
    config = replace(base.config, relation=RelationConfig(channels=8, top_k=20))
    model = PanopticDeepLab(config, base.categories, narrow_backbone(case, config.backbone)).eval()
    report = load_public_weights(model, panoptic_deeplab_case / "model.pkl")
    assert report.source == "detectron2's Panoptic-DeepLab"
    assert report.reinitialised == report.unused == report.missing == ()
    with torch.no_grad():
        ours, theirs = model(arrays["image"][None]), base(arrays["image"][None]).final
    for stage in (ours.initial, ours.final):
        assert torch.equal(stage.semantic.logits, theirs.semantic.logits)
        assert torch.equal(stage.center_heatmap, theirs.center_heatmap)
        assert torch.equal(stage.offset, theirs.offset)
    torch.nn.init.ones_(model.relation.feature_norm.weight)
    with torch.no_grad():
        assert not torch.equal(model(arrays["image"][None]).final.offset, theirs.offset)
