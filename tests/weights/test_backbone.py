from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.weights.backbone import load_backbone_weights

CONFIG = presets.load("custom-upernet-r18", ["backbone.pretrained=false", "backbone.name=test_vit"])


def test_a_file_starts_the_backbone_of_a_model(tmp_path):
    published = timm.create_model("test_vit").state_dict()
    save_file(published, tmp_path / "vit.safetensors")
    model = build_model(CONFIG, known_categories("scenes"))
    before = model.decoder.state_dict()
    load_backbone_weights(model, replace(CONFIG.backbone, weights=str(tmp_path / "vit.safetensors")))
    body = model.backbone.body.model.state_dict()
    assert len(body) > 50 and all(torch.equal(tensor, published[name]) for name, tensor in body.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.decoder.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other.safetensors", "backbone.weights = .*other.safetensors: they "),
        ("none.pth", "none.pth: no such file"),
    ],
)
def test_mistakes_name_the_file(tmp_path, name, message):
    model = build_model(CONFIG, known_categories("scenes"))
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_backbone_weights(model, replace(CONFIG.backbone, weights=str(tmp_path / name)))
