"""EfficientNet-Lite's names in the port of `efficientnet-pytorch` and its kin, to timm's."""

from __future__ import annotations

import re

from torch import Tensor

LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each of the seven groups; the port numbers them through."""

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}

_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}

# The first block does not widen its input, and timm numbers its norms from its own first layer.
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

_PLACES = [(group, place) for group, depth in enumerate(LITE0_DEPTHS) for place in range(depth)]


def from_efficientnet_lite0(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an ImageNet EfficientNet-Lite0 under the names of our backbone.

    Raises:
        LookupError: a layer or block that Lite0 does not have.
    """
    return {f"backbone.body.{_rename(name)}": tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    block = re.match(r"_blocks\.(\d+)\.", name)
    layer, _, tensor = name[block.end() if block else 0 :].partition(".")
    if block is None:
        return f"{_STEM[layer]}.{tensor}"
    group, place = _PLACES[int(block[1])]
    return f"blocks.{group}.{place}.{(_EXPANDING if group else _PLAIN)[layer]}.{tensor}"
