import pytest
import torch
from torch.nn import functional as F

from pisr_core.backbones import Stage, build_backbone
from pisr_core.backbones.pyramid import MadeStage
from pisr_core.config import BackboneConfig


def build(name: str, output_stride: int = 32):
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name, pretrained=False, output_stride=output_stride, multi_grid=())).eval()


def test_maps_with_channels_last_are_turned():
    backbone, images = build("test_mambaout"), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        pyramid, maps = backbone(images), backbone.body(images)
    for ours, theirs in zip(pyramid.values(), maps[-4:], strict=True):
        torch.testing.assert_close(ours, theirs.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


def test_images_are_padded_to_whole_windows_with_the_mean_and_the_padding_is_cut_off():
    backbone = build("maxvit_rmlp_pico_rw_256")
    divisor, images = backbone.divisor, torch.randn(1, 3, 64, 96)
    assert divisor > 32
    padded = F.pad(images, (0, -96 % divisor, 0, -64 % divisor))
    with torch.no_grad():
        pyramid, whole = backbone(images), backbone(padded)
    for name, features in pyramid.items():
        height, width = (side // backbone.stages[name].stride for side in (64, 96))
        torch.testing.assert_close(features, whole[name][:, :, :height, :width])


def test_patches_of_14_pixels_see_an_image_whose_cells_are_16_wide():
    with torch.device("meta"):
        backbone = build_backbone(BackboneConfig("vit_small_patch14_dinov2", False, 16, ()))
    seen = []
    backbone.body.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    with torch.device("meta"):
        pyramid = backbone(torch.empty(1, 3, 160, 320))
    assert seen == [(1, 3, 140, 280)] and pyramid["res4"].shape[2:] == (10, 20)


def test_a_plain_transformers_last_map_becomes_all_four_stages():
    """ViTDet's simple feature pyramid: two transposed convolutions, one, none, pooling."""
    backbone, images = build("test_vit"), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        pyramid, last = backbone(images), backbone.body(images * backbone.scale + backbone.shift)[-1]
        made = backbone.made
        torch.testing.assert_close(pyramid["res4"], made["res4"].mix(last))
        torch.testing.assert_close(pyramid["res5"], made["res5"].mix(F.max_pool2d(last, 2)))
        torch.testing.assert_close(pyramid["res3"], made["res3"].mix(made["res3"].rescale[0](last)))
    kinds = [type(layer).__name__ for layer in made["res2"].rescale]
    assert kinds == ["ConvTranspose2d", "LayerNorm2d", "GELU", "ConvTranspose2d"]


@pytest.mark.parametrize(("source", "stride", "size"), [(16, 4, 32), (16, 8, 16), (16, 16, 8), (16, 32, 4), (8, 32, 2)])
def test_stages_are_made_at_any_stride(source, stride, size):
    made = MadeStage(Stage(16, source), stride)
    features = made(torch.randn(1, 16, 8, 8))
    assert features.shape == (1, 256, size, size)
    torch.testing.assert_close(features.mean(dim=1), torch.zeros(1, size, size), atol=1e-5, rtol=0)  # a layer norm


def test_cells_of_the_transformer_larger_than_the_output_stride_are_cut():
    backbone = build("test_vit", output_stride=8)
    with torch.no_grad():
        pyramid = backbone(torch.randn(1, 3, 40, 72))
    assert [tuple(maps.shape[2:]) for maps in pyramid.values()] == [(10, 18), (5, 9), (5, 9), (5, 9)]
