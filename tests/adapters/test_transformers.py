from copy import deepcopy

import pytest
import torch
from tiny_networks import CLASSES, QUERIES, SIDE, TINY

from pisr_core.adapters.transformers import PISRUniversalSegmentation
from pisr_core.config import RelationConfig
from pisr_core.errors import ConfigError

RELATION = RelationConfig(channels=8, top_k=100)


@pytest.fixture(params=TINY)
def base(request):
    return TINY[request.param]().eval()


def labels():
    masks = torch.zeros(2, SIDE, SIDE)
    masks[0, :30], masks[1, 30:] = 1, 1
    return {"mask_labels": [masks, masks[:1]], "class_labels": [torch.tensor([1, CLASSES - 1]), torch.tensor([0])]}


@pytest.mark.parametrize("name", ["pisr", "heads"])
def test_untrained_it_is_the_plain_network(base, name):
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs = base(images)
        ours = PISRUniversalSegmentation(base, RelationConfig(name=name, channels=8, top_k=100)).eval()(images)
    assert torch.equal(ours.class_queries_logits, theirs.class_queries_logits)
    assert torch.equal(ours.masks_queries_logits, theirs.masks_queries_logits)
    assert ours.loss is None


def test_a_trained_relation_changes_the_masks_only(base):
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs = base(images)
        model = PISRUniversalSegmentation(base, RELATION).eval()
        torch.nn.init.ones_(model.model.relation.feature_norm.weight)
        ours = model(images)
    assert ours.masks_queries_logits.shape == theirs.masks_queries_logits.shape == (1, QUERIES, 16, 16)
    assert not torch.allclose(ours.masks_queries_logits, theirs.masks_queries_logits)
    assert torch.equal(ours.class_queries_logits, theirs.class_queries_logits)


def test_equation_1():
    """While both stages agree, the loss is γ times the network's own plus that of its last layer."""
    base, images, truth = TINY["mask2former"]().train(), torch.randn(2, 3, SIDE, SIDE), labels()

    def loss(network):
        torch.manual_seed(1)  # the criterion looks at random points
        with torch.no_grad():
            return network(images, **truth).loss

    own = loss(base)
    quarter, whole = (loss(PISRUniversalSegmentation(deepcopy(base), RELATION, gamma)) for gamma in (0.25, 1.0))
    torch.testing.assert_close(whole - quarter, 0.75 * own)
    assert whole > own


@pytest.mark.parametrize("detach", [False, True])
def test_a_step_of_training(base, detach):
    model = PISRUniversalSegmentation(base, RelationConfig(channels=8, top_k=4, detach=detach)).train()
    torch.nn.init.constant_(model.model.relation.feature_norm.weight, 0.1)
    before = deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = model(torch.randn(2, 3, SIDE, SIDE), **labels()).loss
    loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert loss.isfinite()
    for part in ("relation.attention.h", "relation.reweighting", "final_heads.mask_embedder", "final_heads.class_pre"):
        assert any(name.startswith(f"model.{part}") for name in changed), part
    assert "model.initial_heads.class_predictor.weight" in changed


def test_none_is_refused(base):
    with pytest.raises(ConfigError, match=r"relation\.name = 'none'"):
        PISRUniversalSegmentation(base, RelationConfig(name="none"))
