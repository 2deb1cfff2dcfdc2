from dataclasses import replace

import pytest
import torch

from pisr_core.config import BackboneConfig, BranchConfig, Config, DeepLabConfig, LossConfig, RelationConfig
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.models.center_offset.structures import CenterOffsetTargets
from pisr_core.structures import IGNORE_INDEX, Category

CATEGORIES = [
    Category(1, "sky", False),
    Category(2, "road", False),
    Category(5, "car", True),
    Category(7, "dog", True),
]
SMALL = Config(
    backbone=BackboneConfig("resnet18", pretrained=False, output_stride=32, multi_grid=()),
    deeplab=DeepLabConfig(BranchConfig(16, (4, 8), 8), BranchConfig(8, (4, 8), 8), aspp_channels=8),
    relation=RelationConfig(channels=8, top_k=6),
)
RELATIONS = ["none", "heads", "concat", "product", "ocr", "pisr"]


def model_with(relation: str, **changes):
    config = replace(SMALL, relation=replace(SMALL.relation, name=relation, **changes))
    return build_model(config, CATEGORIES)


def targets(batch=2, size=64) -> CenterOffsetTargets:
    plane = torch.ones(batch, 1, size, size)
    return CenterOffsetTargets(
        semantic=torch.randint(0, 4, (batch, size, size)),
        semantic_weight=plane[:, 0],
        center=torch.rand_like(plane),
        center_weight=plane,
        offset=torch.randn(batch, 2, size, size),
        offset_weight=plane,
    )


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_step_lowers_the_loss_and_predictions_fit_the_image(relation):
    model = model_with(relation)
    images, truth = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), targets()
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
    results = model.eval().panoptic(model(images), [(64, 64), (40, 50)], [(64, 64), (80, 100)])
    assert [r.panoptic.ids.shape for r in results] == [(64, 64), (80, 100)]


def test_equation_1():
    model = model_with("heads").eval()
    output = model(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    truth = targets(1)
    model.final_heads.load_state_dict(model.initial_heads.state_dict())
    output = model(torch.zeros(1, 3, 64, 64))
    model.config = replace(model.config, loss=LossConfig(gamma=0.25))
    terms = model.losses(output, truth)
    for name in ("semantic", "center", "offset"):
        torch.testing.assert_close(terms[f"initial_{name}"], 0.25 * terms[name])


def test_untrained_pisr_with_equal_heads_is_its_base():
    base, model = model_with("none").eval(), model_with("pisr").eval()
    model.load_state_dict(base.state_dict(), strict=False)
    model.final_heads.load_state_dict(base.initial_heads.state_dict())
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = model(images), base(images)
    torch.testing.assert_close(ours.final.semantic.logits, theirs.final.semantic.logits)
    torch.testing.assert_close(ours.final.offset, theirs.final.offset)
    assert theirs.initial is None and ours.instances.shape == (1, 6, 16, 24)


def test_batched_is_single():
    model = model_with("pisr").eval()
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        both, second = model(images), model(images[1:])
    torch.testing.assert_close(both.final.semantic.logits[1:], second.final.semantic.logits, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("detach", [False, True])
def test_detach_stops_the_gradient_through_first_predictions(detach):
    model = model_with("pisr", detach=detach, thing_mask="probability", instance_radius=50.0)
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    output = model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    output.final.semantic.logits.square().sum().backward()
    reached = model.initial_heads.semantic[1].weight.grad is not None
    assert reached is not detach


def test_an_image_without_labels_or_things_gives_finite_losses():
    model = model_with("pisr")
    truth = targets(2)
    empty = replace(
        truth,
        semantic=torch.full_like(truth.semantic, IGNORE_INDEX),
        center_weight=0 * truth.center_weight,
        offset_weight=0 * truth.offset_weight,
    )
    terms = model.losses(model(torch.zeros(2, 3, 64, 64)), empty)
    total = sum(terms.values())
    total.backward()
    assert total == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_public_widths_build_without_memory():
    with torch.device("meta"):
        model = build_model(replace(Config(), backbone=BackboneConfig(pretrained=False)), CATEGORIES * 5)
        output = model(torch.empty(1, 3, 64, 128))
    assert output.final.semantic.logits.shape == (1, 20, 16, 32)
    assert model.relation.attention.h[0].weight.shape == (192, 384, 3, 3)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="architecture = 'yolo'"):
        build_model(replace(SMALL, architecture="yolo"), CATEGORIES)
    with pytest.raises(ConfigError, match="backbone.name = 'vgg'"):
        build_model(replace(SMALL, backbone=BackboneConfig("vgg")), CATEGORIES)
    with pytest.raises(ConfigError, match="multi_grid"):
        build_model(replace(SMALL, backbone=BackboneConfig("resnet18", False, 16, (1, 2, 4))), CATEGORIES)
    with pytest.raises(ConfigError, match="at least one category"):
        build_model(SMALL, [])


def test_semantic_final_heads_keep_the_first_centres_and_offsets():
    model = model_with("pisr", final_heads="semantic", encoding_stride=2)
    assert {name.split(".")[0] for name, _ in model.final_heads.named_parameters()} == {"semantic"}
    output = model(torch.rand(2, 3, 64, 96) * 255)
    assert output.instances.shape == (2, 6, 8, 12)
    assert output.final.center_heatmap is output.initial.center_heatmap
    assert output.final.offset is output.initial.offset
    assert not torch.equal(output.final.semantic.logits, output.initial.semantic.logits)
    with pytest.raises(ConfigError, match=r"relation\.final_heads.*maskformer"):
        relation = replace(SMALL.relation, final_heads="semantic")
        build_model(replace(SMALL, architecture="maskformer", relation=relation), CATEGORIES)
