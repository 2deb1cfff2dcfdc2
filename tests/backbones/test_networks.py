import pytest
import timm
import torch

from pisr_core.backbones import Stage, build_backbone, find_network, matching_names, output_strides, tags
from pisr_core.config import BackboneConfig
from pisr_core.errors import ConfigError

later = pytest.mark.skipif(
    tuple(map(int, timm.__version__.split(".")[:3])) < (1, 0, 29), reason="earlier ones give no maps of it at any size"
)


def backbone_on_meta(name: str, output_stride: int = 32):
    with torch.device("meta"):
        return build_backbone(BackboneConfig(name, pretrained=False, output_stride=output_stride, multi_grid=()))


@pytest.mark.parametrize(
    ("name", "output_stride", "channels"),
    [
        ("convnext_atto", 16, (40, 80, 160, 320)),
        ("mobilenetv4_conv_small", 32, (32, 64, 96, 960)),
        ("swinv2_cr_tiny_224", 32, (96, 192, 384, 768)),
        ("test_mambaout", 32, (16, 32, 48, 64)),  # maps with channels last
        ("inception_v3", 32, (192, 288, 768, 2048)),  # maps that lack cells at the border
        # no stride 4, and one of 64 that is left out
        pytest.param("csatv2", 32, (256, 32, 72, 168), marks=later),
        pytest.param("efficientvit_m0", 32, (256, 256, 64, 128), marks=later),
        ("test_vit", 16, (256, 256, 256, 256)),
        ("vit_small_patch14_dinov2", 32, (256, 256, 256, 256)),
    ],
)
def test_networks_of_every_kind_give_four_stages(name, output_stride, channels):
    backbone = backbone_on_meta(name, output_stride)
    strides = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    assert list(backbone.stages.values()) == [Stage(c, s) for c, s in zip(channels, strides, strict=True)]
    for height, width in ((96, 160), (160, 96)):
        with torch.device("meta"):
            pyramid = backbone.eval()(torch.empty(1, 3, height, width))
        for (stage, features), c, s in zip(pyramid.items(), channels, strides, strict=True):
            assert features.shape == (1, c, height // s, width // s), stage


def test_output_strides_are_those_that_timm_can_build():
    assert output_strides("convnext_atto") == (8, 16, 32)
    assert output_strides("swinv2_cr_tiny_224") == (32,)
    assert output_strides("test_vit") == (8, 16, 32)  # made by the pyramid
    assert output_strides("levit_128") == ()
    with pytest.raises(ConfigError, match="backbone.output_stride = 8: hrnet_w18_small has 32 only"):
        find_network("hrnet_w18_small", 8)


def test_tags_choose_the_weights_and_the_values_that_they_expect():
    assert find_network("resnet50").name == "resnet50.tv_in1k"  # as the public segmentation models
    assert find_network("vit_base_patch16_224.augreg_in21k").mean == (0.5, 0.5, 0.5)
    assert find_network("vit_base_patch16_224.dino").mean == (0.485, 0.456, 0.406)
    assert {"augreg_in21k", "dino"} <= set(tags("vit_base_patch16_224"))


def test_names_match_patterns():
    assert matching_names("convnext_at*") == [name for name in timm.list_models() if name.startswith("convnext_at")]
    with pytest.raises(ConfigError, match="resnet18x: none of timm's names matches; did you mean .*resnet18"):
        matching_names("resnet18x")


def test_asking_draws_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    find_network.__wrapped__("test_vit2", 32)
    assert torch.equal(torch.rand(4), expected)
