"""How others name the tensors of the vision transformers that EoMT is built on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

_TIMM = (
    (r"^blocks\.", "layers."),
    (r"^norm\.", "layernorm."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^pos_embed$", "embeddings.position_embeddings.weight"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"\.attn\.proj\.", ".attention.out_proj."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
)
"""timm's DINOv2 with registers, without its packed matrices."""

_DINOV3 = (
    (r"^(?:blocks|layer|model\.layer)\.", "layers."),
    (r"^norm\.", "layernorm."),
    (r"^patch_embed\.", "embeddings."),
)
"""DINOv3 of `transformers`, and as EoMT's authors name it."""


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv2 of timm under the names of EoMT in `transformers`, its packed matrices taken apart."""
    renamed = {}
    for name, tensor in state.items():
        for own_name, own in _unpacked(name, tensor, state):
            renamed[_renamed(own_name, _TIMM)] = own
    return renamed


def from_dinov3(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv3 under the names of EoMT in `transformers`; the token of masked patches is left out."""
    return {_renamed(name, _DINOV3): tensor for name, tensor in state.items() if not name.endswith("mask_token")}


def _renamed(name: str, patterns: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]) -> str:
    for pattern, new in patterns:
        name = re.sub(pattern, new, name)
    return name


def _unpacked(name: str, tensor: Tensor, state: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Queries, keys and values of one matrix; gate and values of a gated network's."""
    if name == "pos_embed":
        return [(name, tensor[0])]
    if ".attn.qkv." in name:
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return [(name.replace(".attn.qkv.", f".attention.{part}_proj."), own) for part, own in parts]
    block, is_mlp, rest = name.partition(".mlp.")
    if not is_mlp or len(state[f"{block}.mlp.fc1.weight"]) == state[f"{block}.mlp.fc2.weight"].shape[1]:
        return [(name, tensor)]
    if rest.startswith("fc2."):
        return [(f"{block}.mlp.down_proj.{rest[4:]}", tensor)]
    parts = zip(("gate_proj", "up_proj"), tensor.chunk(2), strict=True)
    return [(f"{block}.mlp.{part}.{rest[4:]}", own) for part, own in parts]
