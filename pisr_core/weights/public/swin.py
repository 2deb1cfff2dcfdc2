"""Swin's original names, which MaskFormer's files keep, to timm's."""

from __future__ import annotations

import re

from torch import Tensor

_SWIN = (
    # timm puts the merging of patches at the beginning of the next stage, not at the end of this one.
    (r"^backbone\.layers\.(\d)\.downsample\.", lambda found: f"backbone.body.layers_{int(found[1]) + 1}.downsample."),
    (r"^backbone\.layers\.(\d)\.", lambda found: f"backbone.body.layers_{found[1]}."),
    (r"^backbone\.norm(\d)\.", lambda found: f"backbone.norms.res{int(found[1]) + 2}."),
    (r"^backbone\.patch_embed\.", lambda found: "backbone.body.patch_embed."),
)


def from_original_swin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a Swin backbone under the names of `SwinBackbone`; all others stay as they are."""
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    for pattern, new in _SWIN:
        name = re.sub(pattern, new, name)
    return name
