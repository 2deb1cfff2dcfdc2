"""Foreign weights files of every kind as named tensors. Nothing that a file holds is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pisr_core.errors import CheckpointError
from pisr_core.weights.files.damage import MALFORMED, first_line, shown
from pisr_core.weights.files.pickles import Array, Foreign, StoredTensor
from pisr_core.weights.files.torch_files import read_pickled

WRAPPERS = frozenset(
    "model state_dict model_state_dict module _orig_mod ema model_ema ema_state_dict state_dict_ema teacher "
    "backbone".split()
)
"""What training programs call the tables of weights, and put before the names for several GPUs or compiling. `network`
is none of them: some networks have a part of that name."""

AVERAGED = re.compile(r"(^|[._])(ema|teacher|averaged?|swa)([._]|$)")

PARTS_OF_MODULES = ("_parameters", "_buffers", "_modules")
"""Attributes of torch's modules that their tensors' names leave out."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU.

    Whatever else the file holds is left aside: settings, optimisers, objects of any class.

    Args:
        path: a file of `torch.save` (either format, whatever its ending), a pickle of NumPy's arrays such as those of
            detectron2's model zoo, or `.safetensors`.

    Returns:
        Tensors by where they lie in the file, in its order: the names of its tables and what they are called there,
        joined by dots (`model.backbone.conv1.weight`).

    Raises:
        CheckpointError: the file is missing, broken, of another kind, or holds no tensors; then what it does hold is
            named.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. `pisr weights list` names public ones.")
    tensors = _read_pickle(path) if is_pickled(path) else _read_safetensors(path)
    if not tensors:
        raise CheckpointError(f"{path}: it holds no tensors. Name a file with a model's weights.")
    if any(tensor.nbytes > path.stat().st_size for tensor in tensors.values()):
        raise CheckpointError(f"{path}: a tensor claims to be larger than the whole file. Download it again.")
    return tensors


def read_network(path: Path) -> dict[str, Tensor]:
    """The tensors of one network by its own names, without the tables that they lie in and what wraps the network.

    Of several copies the averaged one is taken, else the largest that is wrapped. Where the names tell what network
    it is, `pisr_core.weights.public.layouts` knows more.

    Raises:
        CheckpointError: as `read_tensors`.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(path).items():
        words = name.split(".")
        own = next((place for place, word in enumerate(words) if word not in WRAPPERS), len(words) - 1)
        networks.setdefault(".".join(words[:own]), {})[".".join(words[own:])] = tensor
    return networks[min(networks, key=lambda prefix: (not is_averaged(prefix), not prefix, -len(networks[prefix])))]


def is_averaged(name: str) -> bool:
    """Whether weights are named as an average: programs that keep one evaluate with it and publish its scores."""
    return AVERAGED.search(name) is not None


def is_pickled(path: Path) -> bool:
    """Whether a file is one of torch, or a pickle; by its first bytes, for endings say little."""
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix != ".safetensors" and head[8:] != b"{" or head[:2] in (b"PK", b"\x80\x02")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, *MALFORMED) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({first_line(error)}). Copy or download it again."
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content, foreign = read_pickled(path)
        found = dict(_named_tensors(content))
    except MALFORMED as error:
        raise CheckpointError(
            f"{path}: not a readable file of torch or pickle ({first_line(error)}). Nothing in it was executed; "
            "download it again, or save its state_dict alone."
        ) from error
    if not found:
        unread = f"; objects that are not read: {shown(', '.join(sorted(foreign)))}" if foreign else ""
        raise CheckpointError(
            f"{path}: no tensors were found in it, but {shown(_described(content))}{unread}. "
            "Save the model's state_dict()."
        )
    return found


def _named_tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested tables and objects, each container once."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Array | StoredTensor):
            tensor = value.tensor()
            if tensor is not None:
                yield name, tensor
            continue
        inside = value.state if isinstance(value, Foreign) else value
        if not isinstance(inside, dict) or id(inside) in seen:
            continue
        seen.add(id(inside))
        below = [(_joined(name, key), entry) for key, entry in inside.items() if isinstance(key, str)]
        waiting.extend(reversed(below))


def _joined(name: str, key: str) -> str:
    return name if key in PARTS_OF_MODULES else f"{name}.{key}" if name else key


def _described(content: Any) -> str:
    """What a file holds, for a message."""
    if not isinstance(content, dict):
        return _kind(content)
    return ", ".join(f"{key} ({_kind(value)})" for key, value in content.items()) or "an empty table"


def _kind(value: Any) -> str:
    if isinstance(value, Foreign):
        return value.kind
    if isinstance(value, dict):
        return f"a table of {len(value)}"
    return type(value).__name__
