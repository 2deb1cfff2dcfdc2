from copy import deepcopy

import pytest
import torch
from transformers import (
    DetrConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    ResNetConfig,
)

from pisr_core.adapters.transformers import PISRUniversalSegmentation
from pisr_core.config import RelationConfig
from pisr_core.errors import ConfigError

CLASSES, QUERIES = 5, 7
RELATION = RelationConfig(channels=8, top_k=100)


def resnet() -> ResNetConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    return ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=stages
    )


def maskformer() -> MaskFormerForInstanceSegmentation:
    decoder = DetrConfig(
        d_model=16,
        num_queries=QUERIES,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
    )
    config = MaskFormerConfig(
        backbone_config=resnet(),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        num_labels=CLASSES,
    )
    return MaskFormerForInstanceSegmentation(config)


def mask2former() -> Mask2FormerForUniversalSegmentation:
    config = Mask2FormerConfig(
        backbone_config=resnet(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        num_queries=QUERIES,
        num_labels=CLASSES,
        train_num_points=64,
        dropout=0.0,
    )
    return Mask2FormerForUniversalSegmentation(config)


@pytest.fixture(params=[maskformer, mask2former])
def base(request):
    return request.param().eval()


def labels():
    masks = torch.zeros(2, 64, 64)
    masks[0, :30], masks[1, 30:] = 1, 1
    return {"mask_labels": [masks, masks[:1]], "class_labels": [torch.tensor([1, 4]), torch.tensor([0])]}


@pytest.mark.parametrize("name", ["pisr", "heads", "concat"])
def test_untrained_it_is_the_plain_network(base, name):
    images = torch.randn(2, 3, 64, 64)
    model = PISRUniversalSegmentation(base, RelationConfig(name=name, channels=8, top_k=100)).eval()
    with torch.no_grad():
        ours, theirs = model(images), base(images)
    assert type(ours) is type(theirs)
    assert torch.equal(ours.class_queries_logits, theirs.class_queries_logits)
    if name == "concat":
        torch.testing.assert_close(ours.masks_queries_logits, theirs.masks_queries_logits)
    else:
        assert torch.equal(ours.masks_queries_logits, theirs.masks_queries_logits)
    assert ours.loss is None


def test_a_trained_relation_changes_the_masks_only(base):
    model = PISRUniversalSegmentation(base, RELATION).eval()
    torch.nn.init.ones_(model.relation.feature_norm.weight)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = model(images), base(images)
    assert ours.masks_queries_logits.shape == theirs.masks_queries_logits.shape == (1, QUERIES, 16, 16)
    assert not torch.allclose(ours.masks_queries_logits, theirs.masks_queries_logits)
    assert torch.equal(ours.class_queries_logits, theirs.class_queries_logits)


def test_equation_1(base):
    """While both stages agree, the loss is γ times the network's own plus that of its last layer."""
    images, truth = torch.randn(2, 3, 64, 64), labels()

    def loss(network):
        torch.manual_seed(1)  # Mask2Former's criterion looks at random points
        with torch.no_grad():
            return network(images, **truth).loss

    quarter, whole = (loss(PISRUniversalSegmentation(base, RELATION, gamma).eval()) for gamma in (0.25, 1.0))
    torch.testing.assert_close(whole - quarter, 0.75 * loss(base))
    assert whole > loss(base)


@pytest.mark.parametrize("detach", [False, True])
def test_a_step_of_training(base, detach):
    model = PISRUniversalSegmentation(base, RelationConfig(channels=8, top_k=4, detach=detach)).train()
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    before = deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = model(torch.randn(2, 3, 64, 64), **labels()).loss
    loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert loss.isfinite()
    for part in ("relation.attention.h", "relation.reweighting", "final_mask_embedder", "final_class_predictor"):
        assert any(name.startswith(part) for name in changed), part
    assert "base.class_predictor.weight" in changed


def test_none_is_refused(base):
    with pytest.raises(ConfigError, match=r"relation\.name = 'none'"):
        PISRUniversalSegmentation(base, RelationConfig(name="none"))
