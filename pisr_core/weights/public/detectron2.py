"""The names of detectron2's and MaskFormer's model zoos, to ours."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

_DEEP_STEM = (
    (r"^backbone\.stem\.conv1\.norm\.", r"backbone.body.conv1.1."),
    (r"^backbone\.stem\.conv1\.", r"backbone.body.conv1.0."),
    (r"^backbone\.stem\.conv2\.norm\.", r"backbone.body.conv1.4."),
    (r"^backbone\.stem\.conv2\.", r"backbone.body.conv1.3."),
    (r"^backbone\.stem\.conv3\.norm\.", r"backbone.body.bn1."),
    (r"^backbone\.stem\.conv3\.", r"backbone.body.conv1.6."),
)
_PLAIN_STEM = (
    (r"^backbone\.stem\.conv1\.norm\.", r"backbone.body.bn1."),
    (r"^backbone\.stem\.conv1\.", r"backbone.body.conv1."),
)
_BODY = (
    (r"^backbone\.res(\d)\.(\d+)\.shortcut\.norm\.", r"backbone.body.layer\1.\2.downsample.1."),
    (r"^backbone\.res(\d)\.(\d+)\.shortcut\.", r"backbone.body.layer\1.\2.downsample.0."),
    (r"^backbone\.res(\d)\.(\d+)\.conv(\d)\.norm\.", r"backbone.body.layer\1.\2.bn\3."),
    (r"^backbone\.res(\d)\.(\d+)\.", r"backbone.body.layer\1.\2."),
)
"""The ResNets: detectron2's names to timm's; `layer` numbers are lowered by one afterwards."""

_HEADS = (
    (r"^sem_seg_head\.decoder\.", "semantic_decoder."),
    (r"^ins_embed_head\.decoder\.", "instance_decoder."),
    (r"^(\w+_decoder)\.res5\.project_conv\.convs\.4\.1\.", r"\1.aspp.pooled.0."),
    (r"^(\w+_decoder)\.res5\.project_conv\.convs\.", r"\1.aspp.branches."),
    (r"^(\w+_decoder)\.res5\.project_conv\.project\.", r"\1.aspp.project."),
    (r"^(\w+_decoder)\.(res\d)\.project_conv\.", r"\1.project.\2."),
    (r"^(\w+_decoder)\.(res\d)\.fuse_conv\.", r"\1.fuse.\2."),
    (r"^sem_seg_head\.head\.", "initial_heads.semantic.0."),
    (r"^sem_seg_head\.predictor\.", "initial_heads.semantic.1."),
    (r"^ins_embed_head\.(center|offset)_head\.", r"initial_heads.\1.0."),
    (r"^ins_embed_head\.(center|offset)_predictor\.", r"initial_heads.\1.1."),
)
"""Decoders and heads; the innermost parts of a block follow in `_BLOCKS`."""

_BLOCKS = (
    (r"\.depthwise\.", ".0."),
    (r"\.pointwise\.", ".1."),
    (r"\.norm\.(?=\w+$)", ".1."),
)


_MASKFORMER = (
    # Files from before the public code's second version leave `pixel_decoder` out.
    (r"^sem_seg_head\.(?!predictor\.)(?:pixel_decoder\.)?", "pixel_decoder."),
    (r"^pixel_decoder\.(?:transformer\.)?(?=input_proj\.|encoder\.)", "pixel_decoder.encoder."),
    (r"^pixel_decoder\.encoder\.encoder\.layers\.", "pixel_decoder.encoder.layers."),
    (r"^sem_seg_head\.predictor\.(class_embed|mask_embed)\.", r"initial_heads.\1."),
    (r"^sem_seg_head\.predictor\.(?:transformer\.decoder\.)?", "transformer_decoder."),
)
"""MaskFormer's decoders and heads; its numbered blocks and layers follow in `_rename_maskformer`."""


def from_detectron2_deeplab(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A public Panoptic-DeepLab's tensors under the names of `PanopticDeepLab`."""
    return _rename(state, _rename_deeplab)


def from_detectron2_maskformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A public MaskFormer's tensors under the names of `MaskFormer`."""
    return _rename(state, _rename_maskformer)


def _rename(state: dict[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    resnet = (_DEEP_STEM if any(name.startswith("backbone.stem.conv3.") for name in state) else _PLAIN_STEM) + _BODY
    return {
        _rename_resnet(name, resnet) if name.startswith("backbone.") else rename(name): value
        for name, value in state.items()
    }


def _rename_resnet(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in patterns:
        name, hits = re.subn(pattern, new, name)
        if hits:
            break
    return re.sub(r"\.layer(\d)\.", lambda found: f".layer{int(found[1]) - 1}.", name)


def _rename_deeplab(name: str) -> str:
    for pattern, new in _HEADS:
        name = re.sub(pattern, new, name)
    is_norm = ".norm." in name
    for pattern, new in _BLOCKS:
        name = re.sub(pattern, new, name)
    # A block's convolution is its first part, beside the norm; predictors and the pooled branch stand alone.
    if not is_norm and not re.search(r"\.(pooled\.0|(semantic|center|offset)\.1)\.\w+$", name):
        name = re.sub(r"\.(\w+)$", r".0.\1", name)
    return name


def _rename_maskformer(name: str) -> str:
    for pattern, new in _MASKFORMER:
        name = re.sub(pattern, new, name)
    block = re.fullmatch(r"pixel_decoder\.(adapter|layer)_(\d)\.(norm\.)?(\w+)", name)
    if block:
        kind, number, norm, tensor = block.groups()
        side = {"adapter": "lateral", "layer": "output"}[kind]
        return f"pixel_decoder.{side}.res{int(number) + 1}.{1 if norm else 0}.{tensor}"
    return re.sub(r"(?<=\.mask_embed\.)layers\.(\d)", lambda found: str(2 * int(found[1])), name)
