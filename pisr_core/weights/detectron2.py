"""Checkpoints in the layout of detectron2's model zoo, read without executing what a pickle may hold."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray, numeric
from torch import Tensor

from pisr_core.errors import CheckpointError

_ARRAY_PARTS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers and NumPy arrays, and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY_PARTS:
            return _ARRAY_PARTS[module, name]
        # NumPy 2 renamed the module; files exist with either name.
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in (
            "_reconstruct",
            "scalar",
        ):
            return getattr(multiarray, name)
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return numeric._frombuffer  # type: ignore[attr-defined]
        if (module, name) == ("_codecs", "encode"):
            return _latin1_bytes
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is neither a number nor a container")


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """What protocol 2 writes for the bytes of an array."""
    return text.encode("latin1")


def read_detectron2(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pkl` of detectron2's model zoo, `{"model": {name: array}, …}`, by name.

    Raises:
        CheckpointError: the file is missing, broken, of another layout, or holds anything but arrays.
    """
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file.") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise CheckpointError(
            f"{path}: not a readable detectron2 checkpoint ({error}). Nothing in it was executed; "
            "download it again, or export its weights as NumPy arrays."
        ) from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(v, np.ndarray | np.generic) for v in model.values()):
        raise CheckpointError(f'{path}: {{"model": {{name: array}}}} is the layout needed.')
    return {name: torch.from_numpy(np.array(value)) for name, value in model.items()}


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
