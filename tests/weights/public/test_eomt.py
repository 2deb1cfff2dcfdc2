"""EoMT's own files: names and packed matrices as its authors have them, made from networks of `transformers`."""

import json

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from tiny_networks import CLASSES, SIDE, eomt, eomt_dinov3

from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.models.queries.universal.eomt_names import from_timm
from pisr_core.structures import Category
from pisr_core.weights.public import eomt as public_eomt
from pisr_core.weights.public.eomt import GATED_SINCE, read_eomt_file

CATEGORIES = tuple(Category(index, str(index), index < 2) for index in range(CLASSES))
HEADS = {
    "query.": "q.",
    "class_predictor.": "class_head.",
    "mask_head.fc1.": "mask_head.0.",
    "mask_head.fc2.": "mask_head.2.",
    "mask_head.fc3.": "mask_head.4.",
    "upscale_block.block.": "upscale.",
}


def authors_names(network, encoder):
    """A whole file: the vision transformer under the authors' names, and the heads of a network."""
    state = {f"network.encoder.backbone.{name}": tensor for name, tensor in encoder.items()}
    for name, tensor in network.state_dict().items():
        for own, theirs in HEADS.items():
            if name.startswith(own):
                state["network." + name.replace(own, theirs).replace(".layernorm2d.", ".norm.")] = tensor
    state["network.attn_mask_probs"] = torch.ones(2)
    state["network.encoder.pixel_std"] = torch.ones(1, 3, 1, 1)
    state["criterion.empty_weight"] = torch.ones(CLASSES + 1)
    return state


def loaded(checkpoint):
    model = build_model(checkpoint.config, checkpoint.categories).eval()
    model.load_state_dict(checkpoint.state)
    return model


def logits_of(network, images):
    """What `transformers` predicts without masked attention."""
    network.attn_mask_probs.zero_()
    with torch.no_grad():
        return network.eval()(images).masks_queries_logits


@pytest.mark.parametrize("gated", [False, True])
def test_dinov2_is_that_of_timm(tmp_path, gated, monkeypatch):
    if gated and tuple(map(int, transformers.__version__.split(".")[:2])) < GATED_SINCE:
        pytest.skip("this version names gated layers otherwise")
    vit = timm.create_model(
        "vit_giant_patch14_reg4_dinov2" if gated else "vit_small_patch14_reg4_dinov2",
        embed_dim=64,
        depth=3,
        num_heads=1,
        img_size=SIDE,
        patch_size=16,
        num_classes=0,
        mlp_ratio=2 * 176 / 64 if gated else 4,
    ).eval()
    network = eomt(hidden_size=64, num_attention_heads=1, num_register_tokens=4, use_swiglu_ffn=gated)
    network.load_state_dict(from_timm(vit.state_dict()), strict=False)
    torch.save(authors_names(network, vit.state_dict()), tmp_path / "pytorch_model.bin")
    checkpoint = read_eomt_file(tmp_path / "pytorch_model.bin", CATEGORIES)
    if gated:
        monkeypatch.setattr(public_eomt, "GATED_SINCE", (99, 1))
        with pytest.raises(CheckpointError, match=r"pytorch_model.bin: transformers .* it needs 99.1 or newer"):
            read_eomt_file(tmp_path / "pytorch_model.bin", CATEGORIES)
    model, images = loaded(checkpoint), torch.randn(1, 3, SIDE, SIDE)
    model.pixel_mean.zero_()
    model.pixel_std.fill_(1)
    with torch.no_grad():
        torch.testing.assert_close(model(images).final.mask_logits, logits_of(network, images), atol=1e-4, rtol=1e-4)
        tokens = model.backbone.embeddings(images)
        for layer in model.backbone.layers:
            tokens = layer(tokens, None)
        torch.testing.assert_close(model.backbone.layernorm(tokens), vit.forward_features(images), atol=1e-4, rtol=1e-4)
    data = checkpoint.config.data
    assert (data.eval_short_side, data.eval_max_long_side, data.padding, data.eval_resizer) == (
        SIDE,
        SIDE,
        "black",
        "pillow",
    )


@pytest.fixture
def difference(tmp_path):
    """A network on DINOv3, the file with its difference to a base, and the base."""
    network = eomt_dinov3()
    own = {
        name.replace("layers.", "blocks.")
        .replace("layernorm.", "norm.")
        .replace("embeddings.", "patch_embed.", 1): value
        for name, value in network.state_dict().items()
        if name.startswith(("layers.", "layernorm.", "embeddings."))
    }
    base = {name: torch.randn_like(value) for name, value in own.items()}
    state = authors_names(network, {name: value - base[name] for name, value in own.items()})
    state["network.encoder.pixel_std"] = torch.zeros(1, 3, 1, 1)
    torch.save(state, tmp_path / "pytorch_model.bin")
    folder = tmp_path / "base"
    folder.mkdir()
    hub_names = {
        name.replace("blocks.", "layer.").replace("patch_embed.", "embeddings.", 1): v for name, v in base.items()
    }
    save_file(hub_names | {"embeddings.mask_token": torch.zeros(1, 1, 32)}, folder / "model.safetensors")
    settings = {"num_hidden_layers": 3, "num_attention_heads": 2, "num_register_tokens": 1, "intermediate_size": 32}
    (folder / "config.json").write_text(json.dumps(settings | {"image_size": SIDE, "layer_norm_eps": 1e-6}))
    return network, tmp_path / "pytorch_model.bin", folder


def test_a_difference_is_added_to_its_base(difference):
    network, path, base = difference
    model, images = loaded(read_eomt_file(path, CATEGORIES, base)), torch.randn(1, 3, SIDE, SIDE)
    model.pixel_mean.zero_()
    model.pixel_std.fill_(1)
    with torch.no_grad():
        torch.testing.assert_close(model(images).final.mask_logits, logits_of(network, images), atol=1e-4, rtol=1e-4)


def test_a_difference_without_its_base_or_with_another_is_refused(difference):
    _, path, base = difference
    with pytest.raises(
        CheckpointError,
        match=r"the difference to DINOv3, whose weights are gated: accept .*pisr weights import .*--base",
    ):
        read_eomt_file(path, CATEGORIES)
    save_file({"norm.weight": torch.zeros(3)}, base / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not what .* holds the difference to"):
        read_eomt_file(path, CATEGORIES, base)


def test_the_name_says_the_size_where_the_weights_do_not(difference, tmp_path):
    _, path, base = difference
    named = tmp_path / "models--tue-mps--coco_panoptic_eomt_small_128_2x_dinov3" / "pytorch_model.bin"
    named.parent.mkdir()
    named.write_bytes(path.read_bytes())
    assert read_eomt_file(named, CATEGORIES, base).config.transformers.network["image_size"] == 128


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match="not named as EoMT's authors"):
        read_eomt_file(path, CATEGORIES)
    torch.save({"network.encoder.backbone.x": torch.ones(3), "network.class_head.weight": torch.ones(5, 2)}, path)
    with pytest.raises(CheckpointError, match="is not EoMT as its authors save it"):
        read_eomt_file(path, CATEGORIES)
    with pytest.raises(CheckpointError, match="knows 4 classes and names none of them"):
        read_eomt_file(path)
