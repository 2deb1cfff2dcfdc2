from dataclasses import replace

import pytest
import torch

from pisr_core.config import BackboneConfig, Config, LossConfig, MaskFormerConfig, RelationConfig
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.models.queries.structures import MaskTargets
from pisr_core.structures import Category

CATEGORIES = [Category(1, "sky", False), Category(2, "road", False), Category(5, "car", True)]
SMALL = Config(
    architecture="maskformer",
    backbone=BackboneConfig("resnet18", pretrained=False, output_stride=32, multi_grid=()),
    maskformer=MaskFormerConfig(
        channels=32,
        mask_channels=24,
        encoder_layers=1,
        query_channels=16,
        decoder_layers=2,
        queries=8,
        heads=4,
        feedforward=32,
        dropout=0.0,
    ),
    relation=RelationConfig(channels=8, top_k=6),
)
RELATIONS = ["none", "heads", "concat", "product", "ocr", "pisr"]
TERMS = ("class", "mask", "dice")


def model_with(relation: str, **changes):
    config = replace(SMALL, relation=replace(SMALL.relation, name=relation, **changes))
    return build_model(config, CATEGORIES)


def targets() -> MaskTargets:
    """Two images of 64×64: one split in two, one without a segment."""
    left = torch.zeros(64, 64, dtype=torch.bool)
    left[:, :32] = True
    return MaskTargets(
        (torch.tensor([2, 0]), torch.zeros(0, dtype=torch.long)),
        (torch.stack((left, ~left)), torch.zeros(0, 64, 64, dtype=torch.bool)),
    )


def images(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_step_lowers_the_loss_and_predictions_fit_the_image(relation):
    model, batch, truth = model_with(relation), images(), targets()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        terms = model.losses(model(batch), truth)
        losses.append(sum(terms.values()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    prefix = "auxiliary" if relation == "none" else "initial"
    assert list(terms) == [*TERMS, *(f"{prefix}_{name}" for name in TERMS)]
    results = model.eval().panoptic(model(batch), [(64, 64), (40, 50)], [(64, 64), (80, 100)])
    assert [r.panoptic.ids.shape for r in results] == [(64, 64), (80, 100)]


@pytest.mark.parametrize("relation", ["none", "pisr"])
def test_every_parameter_gets_a_gradient(relation):
    """Processes that train together wait for the gradients of all."""
    model, truth = model_with(relation), targets()
    without = MaskTargets(truth.labels[1:] * 2, truth.masks[1:] * 2)
    for wanted in (truth, without):
        model.zero_grad()
        sum(model.losses(model(images()), wanted).values()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in model.parameters())


def test_equation_1():
    model, batch = model_with("heads").eval(), images()
    model.final_heads.load_state_dict(model.initial_heads.state_dict())
    with torch.no_grad():
        output = replace(model(batch), auxiliary=())
        model.config = replace(model.config, loss=LossConfig(gamma=0.25))
        terms = model.losses(output, targets())
    for name in TERMS:
        torch.testing.assert_close(terms[f"initial_{name}"], 0.25 * terms[name])


def test_every_layer_is_supervised():
    model = model_with("none").eval()
    with torch.no_grad():
        output = model(images())
        terms = model.losses(output, targets())
        alone = model.losses(replace(output, auxiliary=()), targets())
        layer = model.losses(replace(output, final=output.auxiliary[0], auxiliary=()), targets())
    assert len(output.auxiliary) == 1
    for name in TERMS:
        assert terms[name] == alone[name] and terms[f"auxiliary_{name}"] == layer[name]


def test_untrained_pisr_with_equal_heads_is_its_base():
    base, model = model_with("none").eval(), model_with("pisr").eval()
    model.load_state_dict(base.state_dict(), strict=False)
    model.final_heads.load_state_dict(base.initial_heads.state_dict())
    batch = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = model(batch), base(batch)
    torch.testing.assert_close(ours.final.mask_logits, theirs.final.mask_logits)
    torch.testing.assert_close(ours.final.class_logits, theirs.final.class_logits)
    assert theirs.initial is None and ours.instances.shape == (1, 6, 16, 24)


def test_there_are_as_many_instances_as_queries_at_most():
    model = model_with("pisr", top_k=100)
    assert model.relation.config.top_k == 8
    assert model(images()).instances.shape == (2, 8, 16, 16)


def test_semantic_logits_are_the_logarithm_of_the_probabilities():
    model = model_with("pisr").eval()
    with torch.no_grad():
        semantic = model.semantic(model(images()).initial)
    torch.testing.assert_close(semantic.logits.exp(), semantic.probabilities, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("detach", [False, True])
def test_detach_stops_the_gradient_through_first_predictions(detach):
    model = model_with("pisr", detach=detach)
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    model(images()).final.mask_logits.square().sum().backward()
    reached = model.initial_heads.class_embed.weight.grad is not None
    assert reached is not detach


def test_batched_is_single():
    model, batch = model_with("pisr").eval(), images()
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    with torch.no_grad():
        both, second = model(batch), model(batch[1:])
    torch.testing.assert_close(both.final.mask_logits[1:], second.final.mask_logits, rtol=1e-3, atol=1e-4)


def test_without_encoder_layers_the_queries_read_the_backbone():
    config = replace(SMALL, maskformer=replace(SMALL.maskformer, encoder_layers=0))
    model = build_model(config, CATEGORIES)
    assert model.pixel_decoder.encoder is None
    assert model.transformer_decoder.input_proj.weight.shape == (16, 512, 1, 1)
    assert model(images()).final.mask_logits.shape == (2, 8, 16, 16)


def test_queries_read_the_encoder_without_a_projection_where_widths_agree():
    config = replace(SMALL, maskformer=replace(SMALL.maskformer, query_channels=32))
    assert build_model(config, CATEGORIES).transformer_decoder.input_proj is None
    config = replace(config, maskformer=replace(config.maskformer, input_projection=True))
    assert build_model(config, CATEGORIES).transformer_decoder.input_proj is not None


def test_autocast_gives_logits_and_losses_in_float32():
    model = model_with("pisr")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images())
        terms = model.losses(output, targets())
    assert output.final.mask_logits.dtype == output.final.class_logits.dtype == torch.float32
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())


@pytest.mark.parametrize("name, millions", [("resnet50", 45.0), ("resnet101", 64.0)])
def test_the_public_widths_have_the_public_number_of_parameters(name, millions):
    config = Config(
        architecture="maskformer",
        backbone=BackboneConfig(name, pretrained=False, output_stride=32, multi_grid=()),
        relation=RelationConfig(name="none"),
    )
    with torch.device("meta"):
        model = build_model(config, [Category(i + 1, str(i), i < 80) for i in range(133)])
        output = model(torch.empty(1, 3, 64, 128))
    assert output.final.mask_logits.shape == (1, 100, 16, 32)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="maskformer.channels = 48: a multiple of 32"):
        MaskFormerConfig(channels=48)
    with pytest.raises(ConfigError, match=r"maskformer.query_channels = 20: .*maskformer.heads \(8\)"):
        MaskFormerConfig(query_channels=20)
    with pytest.raises(ConfigError, match="maskformer.decoder_layers = 0: at least 1"):
        MaskFormerConfig(decoder_layers=0)
