import logging
import re
from dataclasses import replace

import pytest
import timm
import torch

from pisr_core.backbones import PIXEL_MEAN, PIXEL_STD, Stage, build_backbone, output_strides, start_backbone
from pisr_core.config import BackboneConfig
from pisr_core.errors import ConfigError

RESNET = (256, 512, 1024, 2048)
CHANNELS = {
    "resnet18": (64, 128, 256, 512),
    "resnet50": RESNET,
    "resnet50s": RESNET,
    "resnet101": RESNET,
    "resnet101s": RESNET,
    "xception71": (256, 728, 1024, 2048),
    "tf_efficientnet_lite0": (24, 40, 112, 320),
    "hrnet_w48": (48, 96, 192, 384),
    "swin_tiny_patch4_window7_224": (96, 192, 384, 768),
    "swin_large_patch4_window12_384": (192, 384, 768, 1536),
}


def offline(name: str, output_stride: int = 32, **settings) -> BackboneConfig:
    return BackboneConfig(name, pretrained=False, output_stride=output_stride, multi_grid=(), **settings)


STRIDES = dict.fromkeys(CHANNELS, (8, 16, 32)) | {
    "hrnet_w48": (32,),
    "swin_tiny_patch4_window7_224": (32,),
    "swin_large_patch4_window12_384": (32,),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_and_strides_of_the_papers_backbones(name):
    assert output_strides(name) == STRIDES[name]
    for output_stride in STRIDES[name]:
        with torch.device("meta"):
            backbone = build_backbone(offline(name, output_stride))
            pyramid = backbone(torch.empty(1, 3, 160, 224))
        strides = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
        assert list(backbone.stages.values()) == [Stage(c, s) for c, s in zip(CHANNELS[name], strides, strict=True)]
        for stage, features in pyramid.items():
            channels, stride = backbone.stages[stage].channels, backbone.stages[stage].stride
            assert features.shape == (1, channels, 160 // stride, 224 // stride)


def test_swin_takes_any_size_and_normalises_each_stage():
    backbone = build_backbone(offline("swin_tiny_patch4_window7_224")).eval()
    with torch.no_grad():
        for size in ((32, 64), (96, 160)):
            for features in backbone(torch.randn(1, 3, *size)).values():
                assert features.mean(dim=1).abs().max() < 1e-4
                torch.testing.assert_close(
                    features.var(dim=1, unbiased=False), torch.ones_like(features[:, 0]), rtol=0.02, atol=0
                )


def test_swin_shifts_its_windows_in_the_last_stage_too():
    body = build_backbone(offline("swin_tiny_patch4_window7_224")).body
    assert [block.shift_size for block in body["layers_3"].blocks] == [(0, 0), (3, 3)]
    assert all(block.window_size == (7, 7) for block in body["layers_3"].blocks)


@pytest.mark.parametrize("name", ["xception71", "tf_efficientnet_lite0"])
def test_networks_from_tensorflow_see_values_between_minus_and_plus_one(name):
    backbone = build_backbone(offline(name)).eval()
    seen = []
    backbone.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    white = (255 - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    black = -torch.tensor(PIXEL_MEAN) / torch.tensor(PIXEL_STD)
    with torch.no_grad():
        backbone(torch.stack((white, black))[:, :, None, None].expand(2, 3, 32, 32))
    torch.testing.assert_close(seen[0][0], torch.ones(3, 32, 32))
    torch.testing.assert_close(seen[0][1], -torch.ones(3, 32, 32))


def test_multi_grid_multiplies_the_last_stages_dilation():
    with torch.device("meta"):
        body = build_backbone(BackboneConfig("resnet50s", False, 16, (1, 2, 4))).body
    assert [block.conv2.dilation for block in body["layer4"]] == [(2, 2), (4, 4), (8, 8)]


def test_frozen_norms_keep_their_statistics():
    backbone = build_backbone(offline("resnet18", frozen_norms=True)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items() if "running" in name}
    backbone(torch.randn(2, 3, 64, 64))
    assert len(before) == 40
    for name, value in before.items():
        assert torch.equal(value, backbone.state_dict()[name])
    assert not any("bn" in name for name, _ in backbone.named_parameters())


def test_frozen_stages_are_the_first_ones():
    backbone = build_backbone(offline("resnet18", frozen_stages=2))
    frozen = {name.split(".")[1] for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    trained = {name.split(".")[1] for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"} and trained == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (offline("resnet19"), "backbone.name = 'resnet19': did you mean resnet18 or"),
        (offline("nothing like it"), "pisr presets --backbones PATTERN"),
        (offline("resnet18.of_mine"), "timm's weights of resnet18 are .*tv_in1k"),
        (offline("levit_128"), "it takes images of 224×224 pixels only"),
        (offline("crossvit_9_240"), "it takes images of 240×240 pixels only, or its maps are no grid"),
        (offline("hrnet_w48", 16), "backbone.output_stride = 16: hrnet_w48 has 32 only"),
        (replace(offline("hrnet_w48"), multi_grid=(1, 2, 4)), "multi_grid = .*use \\[\\] for none"),
        (replace(offline("resnet18"), multi_grid=(1, 2, 4)), "resnet18 has 2"),
        (offline("hrnet_w48", frozen_stages=1), "hrnet_w48 is no ResNet"),
    ],
)
def test_mistakes_are_named(config, message):
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        build_backbone(config)


def test_weights_that_cannot_be_fetched_are_told_of_once(monkeypatch, caplog):
    def unreachable(*_, **__):
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
        raise OSError("no network")

    monkeypatch.setattr("pisr_core.backbones.build.create_body", unreachable)
    with (
        caplog.at_level(logging.INFO, "pisr_core"),
        pytest.raises(ConfigError, match="no network.*backbone.pretrained=false"),
    ):
        build_backbone(BackboneConfig("resnet18"))
    assert [record.name for record in caplog.records] == ["pisr_core.backbones.build"]


def test_a_file_of_weights_starts_the_backbone():
    config = offline("test_convnext")
    published = timm.create_model("test_convnext", num_classes=7).state_dict()
    backbone = build_backbone(config)
    assert start_backbone(backbone, config, published) == []
    body = backbone.body.state_dict()
    for name, tensor in body.items():  # timm's extractor joins the first two parts of a name
        torch.testing.assert_close(tensor, published[name.replace("stages_", "stages.").replace("stem_", "stem.")])


def test_a_file_of_an_originals_names_is_converted_as_timm_does():
    """ConvNeXt's authors call the stem `downsample_layers.0`, and a block's layers `pwconv1` and `pwconv2`."""
    config = offline("test_convnext")
    published = timm.create_model("test_convnext", num_classes=7).state_dict()
    original = {}
    for name, tensor in published.items():
        name = name.replace("stem.", "downsample_layers.0.").replace("mlp.fc", "pwconv").replace("conv_dw", "dwconv")
        name = re.sub(r"stages\.(\d)\.downsample", r"downsample_layers.\1", name)
        original[re.sub(r"stages\.(\d)\.blocks", r"stages.\1", name).replace("head.norm", "norm")] = tensor
    backbone = build_backbone(config)
    assert start_backbone(backbone, config, original) == []
    assert torch.equal(
        backbone.body["stages_1"].blocks[0].mlp.fc1.weight, published["stages.1.blocks.0.mlp.fc1.weight"]
    )


def test_a_file_that_lacks_a_few_weights_leaves_them_as_they_are():
    config = offline("test_convnext")
    published = timm.create_model("test_convnext", num_classes=7).state_dict()
    lacking = {name: tensor for name, tensor in published.items() if name != "stages.3.blocks.0.mlp.fc2.weight"}
    backbone = build_backbone(config)
    before = backbone.body["stages_3"].blocks[0].mlp.fc2.weight.clone()
    assert start_backbone(backbone, config, lacking) == ["stages_3.blocks.0.mlp.fc2.weight"]
    assert torch.equal(backbone.body["stages_3"].blocks[0].mlp.fc2.weight, before)


@pytest.mark.parametrize("other", ["test_vit", "test_convnext2", "resnet18"])
def test_a_file_of_another_network_is_refused(other):
    config = offline("test_convnext")
    backbone = build_backbone(config)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(ConfigError, match="of another network than test_convnext|of the .* weights of test_convnext"):
        start_backbone(backbone, config, timm.create_model(other).state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
