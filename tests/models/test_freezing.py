import pytest
import torch

from pisr_core import presets
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.structures import Category

CATEGORIES = (Category(1, "car", True), Category(2, "road", False))


def model(*settings):
    config = presets.load("custom-pdl-lite0", ["backbone.pretrained=false", *settings])
    with torch.device("meta"):
        return build_model(config, CATEGORIES)


def trained(network):
    """The parts that learn, and those whose norms and dropout are as in training."""
    learning = {name.partition(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    return learning, {name for name, part in network.named_children() if part.training}


DECODERS = {"semantic_decoder", "instance_decoder"}
SECOND = {"relation", "final_heads"}


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("backbone", DECODERS | {"initial_heads"} | SECOND),
        ("base", SECOND),
        (("backbone", "final_heads"), DECODERS | {"initial_heads", "relation"}),
        ((), {"backbone", "initial_heads"} | DECODERS | SECOND),
    ],
)
def test_what_is_frozen_neither_learns_nor_moves_its_statistics(what, left):
    network = model()
    network.freeze(what)
    for _ in range(2):
        assert trained(network.train()) == (left, left)
        network.eval()
    assert trained(network)[1] == set()


def test_parts_within_parts():
    network = model()
    network.freeze(["backbone.body.conv_stem", "initial_heads"])
    network.train()
    still = {name for name, parameter in network.backbone.named_parameters() if not parameter.requires_grad}
    assert still == {"body.conv_stem.weight"} and network.backbone.training
    assert not network.backbone.body.conv_stem.training


@pytest.mark.parametrize("what", ["backbones", ["backbone", "backbone.head"], [""]])
def test_no_such_part(what):
    with pytest.raises(ConfigError, match=r"train.freeze = .* is no part; there are backbone, semantic_decoder"):
        model().freeze(what)


def test_nothing_left_to_train():
    with pytest.raises(ConfigError, match="train.freeze = 'base': nothing is left to train"):
        model("relation.name=none").freeze("base")


def test_presets_take_a_word_or_a_list():
    for text, value in (("base", "base"), ('["a", "b"]', ("a", "b"))):
        assert presets.load("custom-pdl-lite0", [f"train.freeze={text}"]).train.freeze == value
