import pytest
import timm
import torch
from safetensors.torch import save_file

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.weights.public.efficientnet import LITE0_DEPTHS, from_efficientnet_lite0
from pisr_core.weights.public.importing import load_public_weights

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def public_names():
    """Those of the port, in its order: the stem, 16 blocks numbered through, the classifier."""

    def layers(prefix, convolution, norm):
        return [f"{prefix}{convolution}.weight", *(f"{prefix}{norm}.{tensor}" for tensor in NORM)]

    names = layers("", "_conv_stem", "_bn0")
    for block in range(sum(LITE0_DEPTHS)):
        prefix = f"_blocks.{block}."
        if block > 0:
            names += layers(prefix, "_expand_conv", "_bn0")
        names += layers(prefix, "_depthwise_conv", "_bn1") + layers(prefix, "_project_conv", "_bn2")
    return [*names, *layers("", "_conv_head", "_bn1"), "_fc.weight", "_fc.bias"]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0").eval()


@pytest.fixture(scope="module")
def public_state(classifier):
    """A classifier's random tensors under the port's names, which follow the same order."""
    return dict(zip(public_names(), classifier.state_dict().values(), strict=True))


def test_every_name_becomes_timms(classifier, public_state):
    renamed = from_efficientnet_lite0(public_state)
    ours = {f"backbone.body.{name}": tensor for name, tensor in classifier.state_dict().items()}
    assert renamed.keys() == ours.keys()
    assert all(renamed[name].data_ptr() == ours[name].data_ptr() for name in ours)


def test_the_backbone_computes_what_the_classifier_does(tmp_path, classifier, public_state):
    save_file(public_state, tmp_path / "lite0.safetensors")
    config = presets.load("custom-pdl-lite0", ["backbone.pretrained=false", "backbone.output_stride=32"])
    model = build_model(config, known_categories("cityscapes")).eval()
    report = load_public_weights(model, tmp_path / "lite0.safetensors")
    assert report.missing == report.reinitialised == ()
    assert {unfit.name.split(".")[0] for unfit in report.unused} == {"_conv_head", "_bn1", "_fc"}
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        deepest = model.backbone(model.normalize(image))["res5"]
        expected = classifier.blocks(classifier.bn1(classifier.conv_stem(image / 127.5 - 1)))
    torch.testing.assert_close(deepest, expected, atol=1e-4, rtol=1e-4)


def test_a_larger_network_is_refused(tmp_path, public_state):
    save_file({**public_state, "_blocks.16._bn2.bias": torch.zeros(320)}, tmp_path / "lite1.safetensors")
    config = presets.load("custom-pdl-lite0", ["backbone.pretrained=false"])
    with pytest.raises(CheckpointError, match="EfficientNet-Lite0"):
        load_public_weights(build_model(config, known_categories("cityscapes")), tmp_path / "lite1.safetensors")
