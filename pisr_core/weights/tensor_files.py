"""Foreign weights files of every kind as named tensors. Nothing that a file holds is executed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pisr_core.errors import CheckpointError
from pisr_core.weights.damage import MALFORMED, first_line
from pisr_core.weights.detectron2 import read_detectron2

WRAPPERS = ("model", "state_dict")
"""Keys under which training programs keep the weights beside their own state."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by the names that it gives them, on the CPU.

    Args:
        path: `.pkl` of detectron2's or MaskFormer's model zoo, `.pth` or `.pt` of torch, or `.safetensors`.

    Raises:
        CheckpointError: the file is missing, broken, of another kind, or holds anything but tensors.
    """
    if path.suffix not in READERS:
        raise CheckpointError(f"{path}: weights are read from {', '.join(READERS)}, not from {path.suffix!r} files.")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. `pisr weights list` names public ones.")
    tensors = READERS[path.suffix](path)
    if not tensors:
        raise CheckpointError(f"{path}: it holds no tensors. Name a file with a model's weights.")
    if any(tensor.nbytes > path.stat().st_size for tensor in tensors.values()):
        raise CheckpointError(f"{path}: a tensor claims to be larger than the whole file. Download it again.")
    return tensors


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote, mapped into memory where its format allows.

    Raises:
        CheckpointError: the file is broken, or holds no table of tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except MALFORMED as error:
        raise CheckpointError(
            f"{path}: not a readable torch checkpoint ({first_line(error)}). Nothing in it was executed; "
            "download it again, or save its state_dict alone."
        ) from error
    return _table_of_tensors(path, content)


def _table_of_tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict itself, or the one below `model` or `state_dict`."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(k, str) and _is_plain(v) for k, v in content.items()):
        raise CheckpointError(
            f"{path}: a table {{name: tensor}} is needed, alone or under {' or '.join(map(repr, WRAPPERS))}. "
            "Save the model's state_dict()."
        )
    return dict(content)


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor that can be copied: none without values, sparse or quantised."""
    is_stored = isinstance(value, Tensor) and value.device.type == "cpu"
    return is_stored and value.layout is torch.strided and not value.is_quantized


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: the file is broken.
    """
    try:
        return load_file(path)
    except (SafetensorError, *MALFORMED) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({first_line(error)}). Copy or download it again."
        ) from error


READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".pkl": read_detectron2,
    ".pth": read_torch,
    ".pt": read_torch,
    ".safetensors": read_safetensors,
}
"""What reads a file by its ending."""
