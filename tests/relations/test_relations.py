"""Properties that hold for every relation, and for what PISR is made of."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pisr_core import PISR, presets
from pisr_core.config import PISRConfig, RelationConfig
from pisr_core.errors import ConfigError
from pisr_core.relations import OCR, RELATIONS, build_relation
from pisr_core.relations.attention import PanopticRelationalAttention
from pisr_core.relations.encodings import panoptic_encodings
from pisr_core.relations.reweighting import reweighting_loss
from pisr_core.structures import SemanticPrediction

C, N, K, H, W = 12, 5, 6, 7, 9


def inputs(batch=2, k=K, dtype=torch.float32):
    features = torch.randn(batch, C, H, W, dtype=dtype).relu()
    semantic = SemanticPrediction.from_logits(3 * torch.randn(batch, N, H, W, dtype=dtype))
    return features, semantic, torch.rand(batch, k, H, W, dtype=dtype) ** 4


def make_pisr(**changes) -> PISR:
    relation = PISR(C, N, PISRConfig(**{"top_k": K, "channels": 8, **changes}))
    torch.nn.init.normal_(relation.attention.g_q.weight)
    if relation.config.feature_norm:
        torch.nn.init.ones_(relation.feature_norm.weight)  # away from the zero it may start at
    return relation.eval()


def test_encodings_by_hand():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    semantic = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.5], [1.0, 1.0]]]])
    instances = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    encodings, mass = panoptic_encodings(semantic, instances, features)
    # S Fᵀ and I Fᵀ over the masses 1.5, 2.5, one cell (for 0.5) and one cell (for 0).
    expected = [[2 / 1.5, 0.5 / 1.5], [8 / 2.5, 1.5 / 2.5], [0.5, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(encodings[0], torch.tensor(expected))
    torch.testing.assert_close(mass[0], torch.tensor([1.5, 2.5, 0.5, 0.0]))
    area, _ = panoptic_encodings(semantic, instances, features, normalization="area")
    torch.testing.assert_close(area[0, 0], torch.tensor([2 / 4, 0.5 / 4]))


def test_encodings_leave_autocast():
    features, semantic, instances = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encodings, mass = panoptic_encodings(semantic.probabilities.bfloat16(), instances, features.bfloat16())
    assert encodings.dtype == mass.dtype == torch.float32


@pytest.mark.parametrize("k", [0, 1, K])
@pytest.mark.parametrize("reweight", [True, False])
def test_literal_and_fused_order_agree(k, reweight):
    relation = make_pisr(reweight=reweight).double()
    arguments = inputs(k=k, dtype=torch.float64)
    fused = relation(*arguments)
    relation.attention.fused = False
    literal = relation(*arguments)
    assert (fused - literal).abs().max() < 1e-10
    assert (literal - arguments[0]).abs().max() > 1e-3


def test_attention_is_the_papers_formula():
    attention = PanopticRelationalAttention(C, N + K, inner_channels=8, fused=False).double().eval()
    encodings, features = torch.randn(1, N + K, C).double(), torch.randn(1, C, H, W).double()
    h = attention.h(features)[0].flatten(1)
    f_sp = (attention.g_s.weight @ encodings[0].T).T @ h / 8**0.5
    f_pan = (attention.g_q.weight @ encodings[0].T) @ (attention.g_p.weight[:, :, 0, 0] @ f_sp)
    torch.testing.assert_close(attention.spatial_panoptic_features(encodings, features)[0].flatten(1), f_sp)
    torch.testing.assert_close(attention(encodings, features)[0].flatten(1), f_pan)


@pytest.mark.parametrize("name", RELATIONS)
def test_batched_is_single(name):
    relation = build_relation(C, N, RelationConfig(name=name, channels=8, top_k=K)).eval()
    features, semantic, instances = inputs()
    together = relation(features, semantic, instances)
    for i in range(2):
        one = slice(i, i + 1)
        alone = relation(
            features[one],
            SemanticPrediction(semantic.logits[one], semantic.probabilities[one]),
            instances[one],
        )
        torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("k", [0, K])
def test_every_relation_keeps_the_layout_and_learns(name, k):
    relation = build_relation(C, N, RelationConfig(name=name, channels=8, top_k=K))
    features, semantic, instances = inputs(k=k)
    features.requires_grad_()
    out = relation(features, semantic, instances)
    assert out.shape == features.shape
    out.square().sum().backward()
    gradients = [leaf.grad for leaf in (features, *relation.parameters()) if leaf.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().sum() > 0 for gradient in gradients) >= (1 if name == "heads" else 2)


@pytest.mark.parametrize("name", ["heads", "convolutions", "concat", "product", "pisr"])
def test_untrained_relation_changes_nothing(name):
    relation = build_relation(C, N, RelationConfig(name=name, channels=8, top_k=K)).eval()
    features, semantic, instances = inputs()
    torch.testing.assert_close(relation(features, semantic, instances), features)


def test_convolutions_are_pisrs_layers_with_one_matrix_for_all_images():
    pisr, control = (
        build_relation(C, N, RelationConfig(name=name, channels=8, top_k=K)).eval() for name in ("pisr", "convolutions")
    )
    features, semantic, instances = inputs()
    control.h.load_state_dict(pisr.attention.h.state_dict())
    encodings, _ = pisr.weighted_encodings(features, semantic, instances)
    for norm in (pisr.feature_norm, control.feature_norm):
        torch.nn.init.constant_(norm.weight, 0.7)
    for image, matrix in enumerate(pisr.attention.fused_matrix(encodings)):
        control.back.weight.data = matrix[:, :, None, None]
        torch.testing.assert_close(
            control(features, semantic, instances)[image], pisr(features, semantic, instances)[image]
        )


def test_without_its_norm_an_untrained_pisr_changes_nothing_either():
    relation = PISR(C, N, PISRConfig(channels=8, top_k=K, feature_norm=False))
    features, semantic, instances = inputs()
    assert torch.equal(relation(features, semantic, instances), features)
    torch.nn.init.normal_(relation.attention.g_q.weight)
    assert not torch.allclose(relation(features, semantic, instances), features)


def test_f_pan_has_the_scale_that_its_norm_learns():
    relation = PISR(C, N, PISRConfig(channels=8, top_k=K, residual=False)).train()
    torch.nn.init.constant_(relation.feature_norm.weight, 0.5)
    for factor in (1, 1000):
        torch.nn.init.normal_(relation.attention.g_q.weight, std=factor)
        f_pan = relation(*inputs())
        torch.testing.assert_close(f_pan.std(dim=(0, 2, 3), correction=0), torch.full((C,), 0.5), rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", ["concat", "product", "pisr"])
def test_absent_instances_add_nothing(name):
    relation = build_relation(C, N, RelationConfig(name=name, channels=8, top_k=K)).eval()
    if name == "pisr":
        torch.nn.init.ones_(relation.feature_norm.weight)
    else:
        torch.nn.init.normal_(relation.project.weight)
    features, semantic, instances = inputs(k=3)
    padded = torch.cat((instances, torch.zeros(2, K - 3, H, W)), dim=1)
    torch.testing.assert_close(relation(features, semantic, instances), relation(features, semantic, padded))


@pytest.mark.parametrize("name", ["concat", "product", "pisr"])
def test_more_instances_than_trained_are_refused(name):
    relation = build_relation(C, N, RelationConfig(name=name, channels=8, top_k=K))
    with pytest.raises(ConfigError, match=f"top_k = {K}"):
        relation(*inputs(k=K + 1))


def test_encodings_and_weights_follow_the_order_of_instances():
    relation = make_pisr()
    features, semantic, instances = inputs()
    order = torch.randperm(K)
    encodings, weights = relation.weighted_encodings(features, semantic, instances)
    shuffled, shuffled_weights = relation.weighted_encodings(features, semantic, instances[:, order])
    rows = torch.cat((torch.arange(N), N + order))
    torch.testing.assert_close(shuffled, encodings[:, rows])
    torch.testing.assert_close(shuffled_weights, weights[:, rows])
    assert ((weights > 0) & (weights < 1)).all()


def test_no_residual_is_f_pan_alone():
    relation = make_pisr()
    arguments = inputs()
    with_features = relation(*arguments)
    relation.config = replace(relation.config, residual=False)
    torch.testing.assert_close(relation(*arguments), with_features - arguments[0], rtol=1e-4, atol=1e-4)


def test_gradients_reach_both_predictions_and_features():
    relation = make_pisr()
    features, semantic, instances = inputs()
    leaves = [features, semantic.probabilities, instances]
    for leaf in leaves:
        leaf.requires_grad_()
    relation(*[features, semantic, instances]).sum().backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_reference_ocr(parts_case, record_property):
    arrays = {k: torch.from_numpy(v) for k, v in np.load(parts_case / "ocr.npz").items()}
    weights = {k.removeprefix("w:"): v for k, v in arrays.items() if k.startswith("w:")}
    renamed = {}
    for name, value in weights.items():
        name = name.removeprefix("object_context_block.")
        for theirs, ours in (
            ("f_pixel", "query"),
            ("f_object", "key"),
            ("f_down", "value"),
            ("f_up", "context"),
        ):
            name = name.replace(theirs, ours)
        name = name.replace("conv_bn_dropout.0", "fuse.0.0").replace("conv_bn_dropout.1.0", "fuse.0.1")
        # Query and key are two blocks whose convolutions are 0 and 2 there; value and context are one.
        for block in ("query", "key"):
            for conv, number in (("0", "0.0"), ("1.0", "0.1"), ("2", "1.0"), ("3.0", "1.1")):
                if name.startswith(f"{block}.{conv}.") and name.count(".") == conv.count(".") + 2:
                    name = name.replace(f"{block}.{conv}.", f"{block}.{number}.", 1)
                    break
        for block in ("value", "context"):
            name = name.replace(f"{block}.1.0.", f"{block}.1.")
        renamed[name] = value
    key_channels, channels = weights["object_context_block.f_down.0.weight"].shape[:2]
    relation = OCR(channels, key_channels, out_channels=arrays["output"].shape[1]).eval()
    missing = relation.load_state_dict(renamed, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    semantic = SemanticPrediction.from_logits(arrays["class_logits"])
    regions = relation.regions(arrays["features"], semantic.logits)
    output = relation(arrays["features"], semantic, torch.zeros(2, 0, *arrays["features"].shape[2:]))
    for name, ours in (("context", regions), ("output", output)):
        deviation = float((ours - arrays[name]).abs().max() / arrays[name].abs().max())
        record_property(f"OCR {name}", deviation)
        assert deviation < 1e-5


def test_config_reaches_the_module():
    config = RelationConfig(channels=8, top_k=K, reweight=False, normalization="area", residual=False, fused=False)
    relation = build_relation(C, N, config)
    assert relation.reweighting is None and relation.config.normalization == "area"
    assert not relation.config.residual and not relation.attention.fused
    assert relation.attention.g_p.weight.shape == (N + K, N + K, 1, 1)
    assert build_relation(C, N, replace(config, name="none")) is None


@pytest.mark.parametrize("sampled_already", [True, False])
def test_encodings_gathered_from_every_second_cell(sampled_already):
    features, semantic, instances = inputs()
    relation = make_pisr(encoding_stride=2)
    probabilities = semantic.probabilities[..., ::2, ::2]
    expected, _ = panoptic_encodings(probabilities, instances[..., ::2, ::2], features[..., ::2, ::2])
    given = instances[..., ::2, ::2] if sampled_already else instances
    encodings, weights = relation.weighted_encodings(features, semantic, given)
    torch.testing.assert_close(encodings, relation.encoding_norm(expected) * weights.unsqueeze(2))
    assert relation(features, semantic, given).shape == features.shape


def test_what_is_hardly_there_counts_less():
    features, semantic, instances = inputs()
    encodings, mass = panoptic_encodings(semantic.probabilities, instances, features)
    relation = make_pisr(reweight=False, presence=4.0)
    scaled, _ = relation.weighted_encodings(features, semantic, instances)
    shares = torch.tensor([[m / (m + 4) for m in row] for row in mass.tolist()])  # 4 cells: half of the size
    torch.testing.assert_close(scaled, relation.encoding_norm(encodings) * shares[:, :, None])
    assert build_relation(C, N, RelationConfig(presence=4.0)).config.presence == 4
    with pytest.raises(ConfigError, match="relation.presence = -1"):
        RelationConfig(presence=-1.0)


def test_the_preset_of_the_paper_is_its_equations():
    config = replace(presets.load("scenes-pdl-r18-paper").relation, channels=8, top_k=K)
    relation = PISR(C, N, config).double().eval()
    assert isinstance(relation.attention, PanopticRelationalAttention)
    torch.nn.init.normal_(relation.attention.g_p.weight)
    features, semantic, instances = inputs(dtype=torch.float64)
    maps = torch.cat((semantic.probabilities, instances), dim=1)
    sums = torch.einsum("bmhw,bchw->bmc", maps, features) / (H * W)
    omega = relation.reweighting(sums, maps.sum(dim=(2, 3)))
    weighted, attention = omega[:, :, None] * sums, relation.attention
    spatial = torch.einsum("bmd,bdhw->bmhw", attention.g_s(weighted), attention.h(features)) / math.sqrt(8)
    expected = torch.einsum("bmc,bmhw->bchw", attention.g_q(weighted), attention.g_p(spatial))
    torch.testing.assert_close(relation(features, semantic, instances), expected)


def test_shares_of_the_categories_that_are_there():
    features, semantic, instances = inputs()
    instances[:, -1] = 0
    relation = make_pisr(attention="softmax", residual=False, feature_norm=False, reweight=False)
    encodings, _ = relation.weighted_encodings(features, semantic, instances)
    signals = relation.attention.spatial_panoptic_features(encodings, features)
    shares = signals[:, :-1].exp() / signals[:, :-1].exp().sum(dim=1, keepdim=True)
    # g_p begins as the identity, so F_pan is the mean of the encodings by each cell's shares; the absent one has none.
    expected = torch.einsum("bmc,bmhw->bchw", relation.attention.g_q(encodings[:, :-1]), shares)
    torch.testing.assert_close(relation(features, semantic, instances), expected)


def test_omega_may_read_how_sure_the_first_prediction_is():
    features, semantic, instances = inputs()
    relation = make_pisr(confidence=True)
    encodings, mass = panoptic_encodings(semantic.probabilities, instances, features)
    sure = torch.cat((semantic.probabilities.flatten(2).amax(2), instances.flatten(2).amax(2)), dim=1)
    _, omega = relation.weighted_encodings(features, semantic, instances)
    torch.testing.assert_close(omega, relation.reweighting(relation.encoding_norm(encodings), mass, sure))
    assert relation.reweighting.layers[0].in_features == C + 2


def test_the_loss_of_omega_by_hand():
    weights = torch.tensor([[0.5, 0.25, 0.8, 0.9]])
    present, counted = torch.tensor([[True, False, True, False]]), torch.tensor([[True, True, True, False]])
    expected = 0.5 * ((math.log(2) - math.log(0.8)) / 2 - math.log(0.75))
    assert reweighting_loss(weights, present, counted).item() == pytest.approx(expected)
    assert reweighting_loss(weights, present, counted & False).item() == 0


def test_the_loss_of_omega_teaches_omega_alone():
    features, semantic, instances = inputs()
    relation = make_pisr()
    leaves = [features, semantic.probabilities, instances]
    for leaf in leaves:
        leaf.requires_grad_()
    weights = relation.taught_weights(features, semantic, instances)
    torch.testing.assert_close(weights, relation.weighted_encodings(features, semantic, instances)[1])
    weights.sum().backward()
    assert all(leaf.grad is None for leaf in leaves)
    taught = {name for name, value in relation.named_parameters() if value.grad is not None}
    assert taught == {name for name, _ in relation.named_parameters() if name.startswith("reweighting.")}
    assert make_pisr(reweight=False).taught_weights(features, semantic, instances) is None


def test_an_unknown_relation_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="relation.name = 'prism': choose one of none, heads, .*, pisr"):
        build_relation(C, N, RelationConfig(name="prism"))


def test_a_kernel_of_one_reads_each_cell_by_itself():
    relation = make_pisr(kernel=1, residual=False)
    features, semantic, instances = inputs()
    encodings, _ = relation.weighted_encodings(features, semantic, instances)
    whole = relation.attention(encodings, features)
    cell = relation.attention(encodings, features[..., 3:4, 5:6])
    torch.testing.assert_close(whole[..., 3:4, 5:6], cell)
