import torch

from pisr_core import presets
from pisr_core.backbones import build_backbone
from pisr_core.weights.public.layouts import LAYOUTS
from pisr_core.weights.public.swin import from_original_swin

BLOCK = {
    "norm1": ("weight", "bias"),
    "attn": ("relative_position_bias_table", "qkv.weight", "qkv.bias", "proj.weight", "proj.bias"),
    "norm2": ("weight", "bias"),
    "mlp": ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"),
}


def original_names(depths):
    """Of the public Swin for dense prediction."""
    names = [f"patch_embed.{part}" for part in ("proj.weight", "proj.bias", "norm.weight", "norm.bias")]
    for stage, depth in enumerate(depths):
        for block in range(depth):
            prefix = f"layers.{stage}.blocks.{block}"
            names += [f"{prefix}.{part}.{tensor}" for part, tensors in BLOCK.items() for tensor in tensors]
        if stage < len(depths) - 1:
            names += [f"layers.{stage}.downsample.{part}" for part in ("reduction.weight", "norm.weight", "norm.bias")]
        names += [f"norm{stage}.weight", f"norm{stage}.bias"]
    return names


def test_every_tensor_of_swin_l_has_its_name():
    config = presets.load("coco-maskformer-swinl-baseline", ["backbone.pretrained=false"])
    with torch.device("meta"):
        ours = {f"backbone.{name}" for name in build_backbone(config.backbone).state_dict()}
    state = {f"backbone.{name}": torch.zeros(1) for name in original_names((2, 2, 18, 2))}
    assert set(LAYOUTS["MaskFormer"].rename(state)) == ours


def test_stages_count_on_and_all_else_stays():
    names = {
        "backbone.layers.0.downsample.norm.weight": "backbone.body.layers_1.downsample.norm.weight",
        "backbone.layers.2.blocks.17.mlp.fc1.bias": "backbone.body.layers_2.blocks.17.mlp.fc1.bias",
        "backbone.norm3.bias": "backbone.norms.res5.bias",
        "initial_heads.class_embed.weight": "initial_heads.class_embed.weight",
    }
    assert list(from_original_swin(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())
