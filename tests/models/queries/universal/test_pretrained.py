import pytest
import torch
from tiny_networks import SIDE, eomt_dinov3, mask2former, swin
from transformers import DINOv3ViTConfig, DINOv3ViTModel, SwinForImageClassification

from pisr_core.errors import ConfigError
from pisr_core.models.queries.universal.eomt import QueryViT
from pisr_core.models.queries.universal.pretrained import load_pyramid, load_vit


def test_a_pyramid_starts_from_a_classifier(tmp_path):
    classifier = SwinForImageClassification(swin())
    classifier.save_pretrained(tmp_path)
    backbone = mask2former(swin).model.pixel_level_module.encoder
    load_pyramid(backbone, str(tmp_path))
    theirs = {name.removeprefix("swin."): value for name, value in classifier.state_dict().items()}
    own = {name.removeprefix("swin."): value for name, value in backbone.state_dict().items()}
    shared = own.keys() & theirs.keys()
    assert len(shared) > 50 and all(torch.equal(own[name], theirs[name]) for name in shared)


def test_eomt_starts_from_dinov3(tmp_path):
    settings = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    vit = DINOv3ViTModel(DINOv3ViTConfig(**settings, num_register_tokens=1, patch_size=16))
    vit.save_pretrained(tmp_path)
    backbone = QueryViT(eomt_dinov3())
    load_vit(backbone, str(tmp_path), SIDE, 16)
    for name in ("embeddings.cls_token", "layers.2.mlp.up_proj.weight", "layernorm.weight"):
        theirs = {"layers.2": "model.layer.2", "layernorm": "norm"}
        own = next((name.replace(k, v) for k, v in theirs.items() if name.startswith(k)), name)
        state = vit.state_dict()
        assert torch.equal(backbone.state_dict()[name], state.get(own, state.get(own.removeprefix("model."))))


def test_weights_that_cannot_be_had_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"the weights .*absent cannot be used .*backbone\.pretrained=false"):
        load_vit(QueryViT(eomt_dinov3()), str(tmp_path / "absent"), SIDE, 16)
