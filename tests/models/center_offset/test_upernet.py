from dataclasses import replace

import pytest
import torch
from torch import nn

from pisr_core.config import BackboneConfig, Config, RelationConfig, UPerNetConfig
from pisr_core.models import build_model
from pisr_core.models.center_offset.decoders.upernet import PyramidPooling
from pisr_core.models.center_offset.structures import CenterOffsetTargets
from pisr_core.structures import Category

CATEGORIES = [Category(1, "sky", False), Category(5, "car", True), Category(7, "dog", True)]
SMALL = Config(
    architecture="upernet",
    backbone=BackboneConfig("resnet18", pretrained=False, output_stride=32, multi_grid=()),
    upernet=UPerNetConfig(channels=16, semantic_head_channels=8, instance_head_channels=8),
    relation=RelationConfig(channels=8, top_k=6),
)


def model_with(relation: str):
    return build_model(replace(SMALL, relation=replace(SMALL.relation, name=relation)), CATEGORIES)


def test_pooling_by_hand():
    pooling = PyramidPooling(1, 1, (1, 2)).eval()
    for branch in pooling.branches:
        nn.init.ones_(branch[0].weight)
        nn.init.zeros_(branch[0].bias)
    seen = []
    pooling.project.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0]))
    features = torch.tensor([[1.0, 1.0, 3.0, 3.0]]).repeat(2, 1)[None, None]
    pooling(features)
    (stacked,) = seen
    assert torch.equal(stacked[0], features[0, 0])
    assert torch.equal(stacked[1], torch.full((2, 4), 2.0))
    # The two columns' means, 1 and 3, upsampled to four columns.
    torch.testing.assert_close(stacked[2], torch.tensor([[1.0, 1.5, 2.5, 3.0]]).repeat(2, 1))


@pytest.mark.parametrize("relation", ["none", "ocr", "pisr"])
def test_a_step_lowers_the_loss_and_predictions_fit_the_image(relation):
    model = model_with(relation)
    images, plane = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8), torch.ones(2, 1, 64, 96)
    truth = CenterOffsetTargets(
        semantic=torch.randint(0, 3, (2, 64, 96)),
        semantic_weight=plane[:, 0],
        center=torch.rand_like(plane),
        center_weight=plane,
        offset=torch.randn(2, 2, 64, 96),
        offset_weight=plane,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        terms = model.losses(model(images), truth)
        losses.append(sum(terms.values()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert len(terms) == (3 if relation == "none" else 6)
    (result, _) = model.eval().panoptic(model(images), [(64, 96), (40, 50)], [(64, 96), (80, 100)])
    assert result.panoptic.ids.shape == (64, 96)


def test_untrained_pisr_with_equal_heads_is_its_base():
    base, model = model_with("none").eval(), model_with("pisr").eval()
    model.load_state_dict(base.state_dict(), strict=False)
    model.final_heads.load_state_dict(base.initial_heads.state_dict())
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = model(images), base(images)
    torch.testing.assert_close(ours.final.semantic.logits, theirs.final.semantic.logits)
    torch.testing.assert_close(ours.final.offset, theirs.final.offset)
    assert ours.instances.shape == (1, 6, 16, 24)


def test_all_heads_read_the_whole_of_f():
    model = model_with("none")
    model(torch.rand(2, 3, 64, 64) * 255)
    widths = [head[0][0][0].weight.shape[0] for head in (model.initial_heads.semantic, model.initial_heads.offset)]
    assert widths == [16, 16] and model.initial_heads.center[0][0][0].weight.shape[1] == 16


def test_every_level_of_the_pyramid_reaches_f():
    model = model_with("none").eval()
    pyramid = {
        name: torch.randn(1, stage.channels, 64 // stage.stride, 64 // stage.stride, requires_grad=True)
        for name, stage in model.backbone.stages.items()
    }
    model.decode(pyramid).sum().backward()
    assert all(features.grad.abs().sum() > 0 for features in pyramid.values())
