"""Checkpoints in the layout of detectron2's model zoo, read without executing what a pickle may hold."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pisr_core.errors import CheckpointError
from pisr_core.weights.damage import MALFORMED, first_line


class _Number:
    """What stands for a NumPy type while a pickle is read."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        if not re.fullmatch("[biuf][1248]", self.code) or self.order not in "<>=|":
            raise pickle.UnpicklingError(f"it holds an array of {self.code[:20]!r}, which is no number")
        return np.dtype(self.order + self.code)


class _Array:
    """What stands for a NumPy array: its own would believe whatever shape and type a file claims for some bytes."""

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, number, is_fortran, raw = state
        self.values = _array(raw, number, shape, "F" if is_fortran else "C").values


def _array(raw: bytes | bytearray, number: _Number, shape: tuple[int, ...], order: Literal["C", "F"]) -> _Array:
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("it holds an array without its bytes")
    array = _Array()
    array.values = np.frombuffer(bytes(raw), number.resolve()).reshape(shape, order=order)
    return array


def _scalar(number: _Number, raw: bytes) -> _Array:
    return _array(raw, number, (), "C")


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """What protocol 2 writes for the bytes of an array."""
    return text.encode("latin1")


_KNOWN = {
    "collections.OrderedDict": OrderedDict,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Number,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
    "_codecs.encode": _latin1_bytes,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers and arrays, and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")  # NumPy 2 renamed it; files have either name
        if full not in _KNOWN:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is neither a number nor a container")
        return _KNOWN[full]


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
    except MALFORMED as error:
        raise CheckpointError(
            f"{path}: not a readable detectron2 checkpoint ({first_line(error)}). Nothing in it was executed; "
            "download it again, or export its weights as NumPy arrays."
        ) from error
    model = content.get("model") if isinstance(content, dict) else None
    arrays = {k: v.values for k, v in model.items() if isinstance(v, _Array)} if isinstance(model, dict) else {}
    tensors = {k: _tensor(v) for k, v in arrays.items() if isinstance(k, str) and v is not None}
    if not isinstance(model, dict) or len(tensors) < len(model):
        raise CheckpointError(f'{path}: {{"model": {{name: array}}}} is the layout needed.')
    return tensors


def _tensor(values: np.ndarray) -> Tensor:
    """A copy, which may be written to, in this machine's order of bytes."""
    return torch.from_numpy(np.array(values, values.dtype.newbyteorder("=")))


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
