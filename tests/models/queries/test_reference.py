"""The public MaskFormer's outputs, losses and matches, from its own checkpoints, for every reference case."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pisr_core.backbones import Backbone
from pisr_core.config import BackboneConfig, Config, MaskFormerConfig, RelationConfig
from pisr_core.models import MaskFormer
from pisr_core.models.queries.maskformer.losses import mask_losses
from pisr_core.models.queries.maskformer.matching import match
from pisr_core.models.queries.merging import semantic_inference
from pisr_core.models.queries.structures import MaskTargets
from pisr_core.structures import Category
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.public.importing import load_public_weights
from pisr_core.weights.public.layouts import detect_layout, rename_tensors


def reference_config(case: dict) -> Config:
    pixel_decoder, transformer, weights = case["pixel_decoder"], case["transformer"], case["loss_weights"]
    return Config(
        backbone=BackboneConfig(f"resnet{case['resnet']['depth']}", False, 32, ()),
        maskformer=MaskFormerConfig(
            channels=pixel_decoder["convs_dim"],
            mask_channels=pixel_decoder["mask_dim"],
            encoder_layers=pixel_decoder["transformer_enc_layers"],
            query_channels=transformer["hidden_dim"],
            decoder_layers=transformer["dec_layers"],
            queries=transformer["num_queries"],
            heads=transformer["nheads"],
            feedforward=transformer["dim_feedforward"],
            dropout=0.0,
            input_projection=transformer["enforce_input_proj"],
            class_weight=weights["loss_ce"],
            mask_weight=weights["loss_mask"],
            dice_weight=weights["loss_dice"],
            no_object_weight=case["no_object_weight"],
            object_mask_threshold=case["object_mask_threshold"],
            overlap_threshold=case["overlap_threshold"],
        ),
        relation=RelationConfig(name="none"),
    )


def narrow_backbone(case: dict) -> Backbone:
    """timm's ResNet at a case's widths; only with a deep stem can the stem be narrow, so the plain one is put in."""
    resnet = case["resnet"]
    body = timm.create_model(
        f"resnet{resnet['depth']}",
        features_only=True,
        stem_type="deep",
        stem_width=resnet["stem_out_channels"] // 2,
        channels=[resnet["res2_out_channels"] // 4 * 2**i for i in range(4)],
        base_width=64 * resnet["bottleneck_width"] * 4 // resnet["res2_out_channels"],
    )
    body.conv1 = nn.Conv2d(3, resnet["stem_out_channels"], kernel_size=7, stride=2, padding=3, bias=False)
    return Backbone(body)


@pytest.fixture
def reference(maskformer_case):
    case = json.loads((maskformer_case / "config.json").read_text())
    things = set(case["thing_ids"])
    categories = [Category(i + 1, str(i), i in things) for i in range(case["num_classes"])]
    model = MaskFormer(reference_config(case), categories, narrow_backbone(case)).eval()
    weights = maskformer_case / "model.pkl"
    model.load_state_dict(rename_tensors(weights, detect_layout(weights, read_tensors(weights))))
    arrays = {name: torch.from_numpy(value) for name, value in np.load(maskformer_case / "io.npz").items()}
    return case, model, arrays


def image_size(arrays: dict) -> tuple[int, int]:
    return tuple(arrays["image"].shape[1:])


def relative_deviation(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_every_tensor_equals_the_public_models(reference, record_property):
    _, model, arrays = reference
    with torch.no_grad():
        image = arrays["image"][None]
        features, _ = model.pixel_decoder(model.backbone(model.normalize(image)))
        final = model(image).final
        masks = nn.functional.interpolate(final.mask_logits, image_size(arrays), mode="bilinear", align_corners=False)
    ours = {
        "mask_features": features,
        "pred_logits": final.class_logits,
        "pred_masks": final.mask_logits,
        "semantic": semantic_inference(final.class_logits, masks),
    }
    for name, tensor in ours.items():
        deviation = relative_deviation(tensor[0], arrays[name])
        record_property(name, deviation)
        assert deviation < 1e-4, f"{name}: {deviation:.1e}"


def test_losses_and_matches_equal_the_public_models(reference, record_property):
    case, model, arrays = reference
    with torch.no_grad():
        output = model(arrays["image"][None])
        targets = MaskTargets((arrays["target_labels"],), (arrays["target_masks"],))
        layers = (output.final, *output.auxiliary)
        (matches, *_) = match(layers, targets, model.config.maskformer)
        losses = mask_losses(layers, targets, model.config.maskformer)
        total = sum(model.losses(output, targets).values())
    assert torch.equal(matches[1], arrays["match_query"])
    assert torch.equal(matches[2], arrays["match_target"])
    # The public model numbers the layers before the last and gives its losses without their weights.
    suffixes = ["", *(f"_{i}" for i in range(len(layers) - 1))]
    for own, suffix in zip(losses, suffixes, strict=True):
        for ours, theirs in (("class", "loss_ce"), ("mask", "loss_mask"), ("dice", "loss_dice")):
            expected = case["losses"][theirs + suffix]
            value = own[ours].item() / case["loss_weights"][theirs + suffix]
            record_property(theirs + suffix, abs(value - expected) / expected)
            assert value == pytest.approx(expected, rel=1e-4)
    assert total.item() == pytest.approx(
        sum(case["losses"][name] * weight for name, weight in case["loss_weights"].items()), rel=1e-4
    )


def test_panoptic_map_equals_the_public_models(reference, record_property):
    case, model, arrays = reference
    size = image_size(arrays)
    with torch.no_grad():
        (result,) = model.panoptic(model(arrays["image"][None]), [size], [size])
    share = (result.panoptic.ids == arrays["panoptic"].numpy()).mean()
    record_property("panoptic, share of pixels", 1 - share)
    assert share >= 0.999
    assert [(s.id, s.category) for s in result.panoptic.segments] == [
        (s["id"], s["category_id"]) for s in case["segments_info"]
    ]
    assert (result.semantic == arrays["semantic"].argmax(dim=0).numpy()).mean() >= 0.999


def test_pisr_starts_from_the_public_weights_as_its_base(reference, maskformer_case):
    """First and final predictions both equal the base's while the scale of F_pan is zero."""
    case, base, arrays = reference
    config = replace(base.config, relation=RelationConfig(channels=8, top_k=10))
    model = MaskFormer(config, base.categories, narrow_backbone(case)).eval()
    report = load_public_weights(model, maskformer_case / "model.pkl")
    assert report.source == "MaskFormer"
    assert report.reinitialised == report.unused == report.missing == ()
    with torch.no_grad():
        ours, theirs = model(arrays["image"][None]), base(arrays["image"][None]).final
    for stage in (ours.initial, ours.final):
        torch.testing.assert_close(stage.class_logits, theirs.class_logits)
        torch.testing.assert_close(stage.mask_logits, theirs.mask_logits)
