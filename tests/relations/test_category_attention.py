"""Attention of categories to one another."""

import pytest
import torch

from pisr_core import PISR
from pisr_core.config import PISRConfig
from pisr_core.errors import ConfigError
from pisr_core.relations.category_attention import CategoryAttention, memberships
from pisr_core.structures import SemanticPrediction

C, N, K, H, W = 12, 5, 6, 7, 9


def relation(**changes) -> PISR:
    torch.manual_seed(0)
    config = PISRConfig(**{"top_k": K, "channels": 8, "attention": "categories", "start": 0.5, **changes})
    return PISR(C, N, config).eval()


def inputs(batch=2, k=K):
    features, semantic = torch.randn(batch, C, H, W).relu(), torch.randn(batch, N, H, W)
    return features, SemanticPrediction.from_logits(semantic), torch.rand(batch, k, H, W) ** 4


def test_what_a_cell_takes_by_hand():
    """Three categories; the second gets of the first and the third by how well these answer, of itself nothing, and is
    compared with that.
    """
    attention = CategoryAttention(2, 1)
    attention.h.weight.data = torch.tensor([[1.0, 0.0]])
    attention.g_s.weight.data = torch.tensor([[0.0, 1.0]])
    attention.g_c.weight.data = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    attention.g_q.weight.data = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    encodings = torch.tensor([[[1.0, 3.0], [2.0, 9.0], [4.0, 2.0]]])
    cell = torch.tensor([0.0, 1.0, 0.0])[None, :, None, None]
    first, third = torch.tensor([2.0 * 3.0, 2.0 * 2.0]).softmax(0)
    got = first * encodings[0, 0] + third * encodings[0, 2]
    compared = torch.stack((9.0 * got[1], 2 * 2.0 * 2 * got[0]))
    torch.testing.assert_close(attention(encodings, cell)[0, :, 0, 0], compared)
    shares = attention.spatial_panoptic_features(encodings, cell)[0, :, 0, 0]
    torch.testing.assert_close(shares, torch.stack((first, torch.tensor(0.0), third)))


def test_a_cell_belongs_to_its_instances_and_else_to_its_classes():
    probabilities = torch.tensor([0.75, 0.25])[None, :, None, None].expand(1, 2, 1, 4)
    instances = torch.tensor([[[[0.0, 0.4, 1.0, 0.9]], [[0.0, 0.0, 0.0, 0.9]]]])
    expected = [[0.75, 0.45, 0.0, 0.0], [0.25, 0.15, 0.0, 0.0], [0.0, 0.4, 1.0, 0.5], [0.0, 0.0, 0.0, 0.5]]
    torch.testing.assert_close(memberships(probabilities, instances)[0, :, 0], torch.tensor(expected))


def test_a_cell_takes_what_its_categories_find():
    module, (features, semantic, instances) = relation(), inputs()
    encodings, _ = module.weighted_encodings(features, semantic, instances)
    attention = module.attention
    got = torch.einsum("bmi,bmc->bic", attention.shares(encodings), encodings)
    found = attention.g_q(attention.g_c(encodings) * attention.g_c(got))
    expected = torch.einsum("bmc,bmhw->bchw", found, memberships(semantic.probabilities, instances))
    gained = module(features, semantic, instances) - features
    torch.testing.assert_close(gained, module.feature_norm(expected))


def test_the_order_of_instances_does_not_matter():
    module, (features, semantic, instances) = relation(), inputs()
    torch.testing.assert_close(
        module(features, semantic, instances.flip(1)), module(features, semantic, instances), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("k", [0, 2])
def test_absent_instances_and_the_rest_of_a_batch_change_nothing(k):
    module, (features, semantic, instances) = relation(), inputs(k=k)
    padded = torch.cat((instances, torch.zeros(2, K - k, H, W)), dim=1)
    both = module(features, semantic, instances)
    torch.testing.assert_close(module(features, semantic, padded), both, rtol=1e-4, atol=1e-5)
    alone = SemanticPrediction.from_logits(semantic.logits[:1])
    torch.testing.assert_close(module(features[:1], alone, instances[:1])[0], both[0], rtol=1e-4, atol=1e-5)


def test_at_first_f_pan_has_the_scale_that_is_asked_for():
    arguments = inputs()
    assert torch.equal(relation(start=0.0)(*arguments), arguments[0])
    half, whole = (relation(start=scale)(*arguments) - arguments[0] for scale in (0.5, 1.0))
    torch.testing.assert_close(2 * half, whole)


def test_at_first_each_category_asks_for_its_like():
    """Of 20 others, one of which is nearly the same."""
    torch.manual_seed(0)
    attention = CategoryAttention(64, 64)
    encodings = torch.nn.functional.layer_norm(torch.randn(8, 21, 64), (64,))
    encodings[:, 1] = encodings[:, 0] + 0.1 * torch.randn(8, 64)
    first = torch.eye(21)[:, :1, None].expand(8, -1, -1, 1)
    shares = attention.spatial_panoptic_features(encodings, first)[:, :, 0, 0]
    assert (shares[:, 1] > 0.9).all() and (shares[:, 2:].amax(dim=1) < 0.1).all()


def test_every_cell_needs_its_instances():
    with pytest.raises(ConfigError, match=r"relation.encoding_stride = 2: 1 with relation.attention = 'categories'"):
        PISRConfig(attention="categories", encoding_stride=2)
    with pytest.raises(ConfigError, match=r"relation.start = -1.0: 0 or above"):
        PISRConfig(start=-1.0)
