from dataclasses import replace

import pytest
import torch
from tiny_networks import ARCHITECTURES, CATEGORIES, QUERIES, SIDE, TINY, config_of

from pisr_core.errors import ConfigError
from pisr_core.models import MODELS, build_model
from pisr_core.models.queries.structures import MaskTargets
from pisr_core.models.queries.universal.eomt import EoMT


@pytest.fixture(params=TINY)
def kind(request):
    return request.param


def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)


def targets() -> MaskTargets:
    """One image split in two, one without a segment."""
    left = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    left[:, : SIDE // 2] = True
    return MaskTargets(
        (torch.tensor([2, 0]), torch.zeros(0, dtype=torch.long)),
        (torch.stack((left, ~left)), torch.zeros(0, SIDE, SIDE, dtype=torch.bool)),
    )


def test_a_step_lowers_the_loss(kind):
    model, batch, truth = build_model(config_of(kind), CATEGORIES), images(), targets()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        torch.manual_seed(0)  # the criterion looks at random points
        terms = model.losses(model(batch), truth)
        losses.append(sum(terms.values()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert set(terms) == {f"{stage}{term}" for stage in ("", "initial_") for term in ("class", "mask", "dice")}
    result = model.eval().panoptic(model(batch), [(SIDE, SIDE), (40, SIDE)], [(SIDE, SIDE), (80, 2 * SIDE)])
    assert [own.panoptic.ids.shape for own in result] == [(SIDE, SIDE), (80, 2 * SIDE)]


def test_every_parameter_gets_a_gradient(kind):
    model = build_model(config_of(kind), CATEGORIES)
    torch.nn.init.ones_(model.relation.feature_norm.weight)
    sum(model.losses(model(images()), targets()).values()).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not without


@pytest.mark.parametrize("kind", ["mask2former", "eomt"])
def test_the_loss_is_the_networks_own(kind):
    """γ 1 and a second stage that says the same: once the network's own loss, and its last layer's again."""
    network = TINY[kind]().train()
    batch, truth = images(), targets()
    model = MODELS[ARCHITECTURES[kind]](config_of(kind, "none"), CATEGORIES, network).train()
    output = model(batch)
    torch.manual_seed(1)
    ours = sum(model.losses(output, truth).values())
    torch.manual_seed(1)
    layers = [output.final, *output.auxiliary]
    masks = [each.float() for each in truth.masks]
    own = [
        network.get_loss(network.get_loss_dict(each.mask_logits, each.class_logits, masks, list(truth.labels), None))
        for each in layers
    ]
    assert len(layers) == 3
    torch.testing.assert_close(ours, sum(own))


def test_the_base_alone_is_trained_nowhere_when_frozen(kind):
    model = build_model(config_of(kind), CATEGORIES)
    model.freeze("base")
    torch.nn.init.ones_(model.relation.feature_norm.weight)
    terms = model.train().losses(model(images()), targets())
    sum(terms.values()).backward()
    assert set(terms) == {"class", "mask", "dice"}
    trained = {name.partition(".")[0] for name, own in model.named_parameters() if own.grad is not None}
    assert trained == {"relation", "final_heads"}
    assert not model.backbone.training and model.relation.training
    with pytest.raises(ConfigError, match=r"train\.freeze"):
        build_model(config_of(kind, "none"), CATEGORIES).freeze("base")


def test_the_backbone_runs_once(kind):
    model = build_model(config_of(kind), CATEGORIES)
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    model(images())
    assert len(calls) == 1


def test_a_k_beyond_the_queries_is_lowered(kind):
    config = config_of(kind)
    config = replace(config, relation=replace(config.relation, top_k=50))
    assert build_model(config, CATEGORIES)(images()).instances.shape[1] == QUERIES
    assert type(build_model(config, CATEGORIES)).instance_limit(config)[0] == QUERIES


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"model_type": "detr"}, "model_type = 'detr': eomt has eomt, eomt_dinov3"),
        ({"hidden_size": "wide"}, "transformers.network: "),
        ({"hidden_size": 30, "num_attention_heads": 4}, "transformers.network: "),
        ({"num_querys": 5}, "unknown setting transformers.network.num_querys: did you mean num_queries"),
    ],
)
def test_wrong_settings_of_the_network_are_refused(network, message):
    config = config_of("eomt")
    settings = replace(config.transformers, network=config.transformers.network | network)
    with pytest.raises(ConfigError, match=message):
        build_model(replace(config, transformers=settings), CATEGORIES)


def test_eomt_takes_one_size_only():
    model = build_model(config_of("eomt"), CATEGORIES)
    with pytest.raises(ConfigError, match="64×64 pixels alone, not 64×96: .* data.eval_max_long_side, to 64"):
        model(torch.zeros(1, 3, 64, 96))
    model.config = replace(model.config, data=replace(model.config.data, eval_size=(32, 32)))
    with pytest.raises(ConfigError, match="not 32×32: set data.crop, or both sides of data.eval_size, to 64"):
        model(torch.zeros(1, 3, 32, 32))


def seen_masks(model: EoMT) -> list[torch.Tensor | None]:
    """The attention masks of the last two blocks in a forward pass."""
    masks = []
    blocks = model.backbone.layers[-2:]
    hooks = [block.register_forward_pre_hook(lambda _, inputs: masks.append(inputs[1])) for block in blocks]
    model(images())
    for hook in hooks:
        hook.remove()
    return masks


@pytest.mark.parametrize(
    ("progress", "probabilities"),
    [(0.0, [1, 1]), (0.375, [0.5**0.9, 1]), (0.5, [0, 1]), (0.625, [0, 0.5**0.9]), (0.75, [0, 0])],
)
def test_masked_attention_fades_block_after_block(progress, probabilities):
    model = build_model(config_of("eomt", annealing=((0.25, 0.5), (0.5, 0.75))), CATEGORIES)
    model.begin_step(progress)
    assert model.fading.tolist() == pytest.approx(probabilities)
    assert [mask is not None for mask in seen_masks(model)] == [probability > 0 for probability in probabilities]
    assert seen_masks(model.eval()) == [None, None]


def test_a_query_is_kept_from_patches_outside_its_mask_alone():
    model = build_model(config_of("eomt", annealing=((1.0, 1.0), (1.0, 1.0))), CATEGORIES)
    model.begin_step(0.0)
    mask, patches = seen_masks(model)[0][0, 0], (SIDE // 16) ** 2
    assert (mask[QUERIES:] == 1).all() and (mask[:, :-patches] == 1).all()
    assert set(mask[:QUERIES, -patches:].unique().tolist()) <= {1.0, -1e9}


def test_class_weights_reach_the_criterion(kind):
    config = config_of(kind)
    model = build_model(replace(config, loss=replace(config.loss, class_weights={"class 2": 5.0})), CATEGORIES)
    assert model.criterion.empty_weight.tolist() == pytest.approx([1, 1, 5, 1, 0.1])
    assert not any("weight" in name and "criterion" in name for name in model.state_dict())
