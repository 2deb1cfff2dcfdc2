"""Checkpoints: safetensors files that carry their whole config, so that they load without the preset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.data.coco.entries import parse_category, show
from pisr_core.errors import CheckpointError, ConfigError, DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category
from pisr_core.weights.files.damage import MALFORMED, first_line
from pisr_core.weights.files.tensor_files import is_pickled

KEY = "pisr"
"""The only entry of the file's metadata: safetensors would write several in a random order."""

FORMAT = 1
"""Version of that entry's layout."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        config: the preset that the weights were trained with.
        categories: the classes of the dataset, in the order of the model's outputs.
        state: the model's tensors by name, on the CPU.
        info: where the weights come from: the step, the PQ …
    """

    config: Config
    categories: tuple[Category, ...]
    state: dict[str, Tensor]
    info: dict[str, Any]


def save_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    config: Config,
    categories: Sequence[Category],
    info: Mapping[str, Any],
) -> None:
    """Writes weights with everything that is needed to use them; `path` is whole at any moment.

    Args:
        path: the file, `*.safetensors`; its folder is made when it is missing.
        state: the model's `state_dict()`.
        config: the preset.
        categories: the classes, in the order of the model's outputs.
        info: values that JSON can hold.

    Raises:
        OutputError: the file cannot be written. What `path` held before is intact.
    """
    header = {
        "format": FORMAT,
        "config": presets.to_dict(config),
        "categories": [asdict(category) for category in categories],
        "info": dict(info),
    }
    # Copies, for safetensors refuses tensors that share their memory.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    header["digest"] = _digest(header, tensors)
    with written_whole(path) as part:
        part.write_bytes(save(tensors, {KEY: json.dumps(header)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file that `save_checkpoint` wrote. Nothing in it is executed.

    Raises:
        CheckpointError: the file is missing, truncated, changed since it was written (former files do not tell), no
            safetensors file, not written by `pisr`, or its config is unknown to this version.
    """
    with _opened(path) as file:
        header = _header(path, file.metadata() or {})
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if header.pop("digest", None) not in (None, _digest(header, state)):
        raise CheckpointError(
            f"{path}: its content is not what was written, the digest differs: damaged on the disk or the way. "
            "Copy it again from where it was written, or take another checkpoint of the run."
        )
    return _assemble(path, header, state)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Of all that a checkpoint holds: names, types, shapes and numbers of its tensors, and the rest of its header."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def read_info(path: Path) -> dict[str, Any]:
    """Where a checkpoint's weights come from, without reading them.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    with _opened(path) as file:
        return _assemble(path, _header(path, file.metadata() or {}), {}).info


def is_checkpoint(path: Path) -> bool:
    """Whether a file is one that `save_checkpoint` wrote, damaged or not, rather than any other program's."""
    try:
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, *MALFORMED):
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file. Name a checkpoint that `pisr train` wrote, such as RUN/best.safetensors."
        ) from None
    except (SafetensorError, *MALFORMED) as error:
        if path.is_file() and is_pickled(path):
            raise CheckpointError(
                f"{path}: a file of another program (torch or pickle), not a checkpoint that `pisr train` wrote. "
                f"Make one of it: `pisr weights import {path} --preset NAME`."
            ) from error
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({first_line(error)}). It was cut short or is of another kind: "
            "copy it again, or name a checkpoint that `pisr train` wrote."
        ) from error


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        header = json.loads(metadata.get(KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: a safetensors file that this version of `pisr` did not write. "
            "`pisr weights import` converts public weights."
        )
    return header


def _assemble(path: Path, header: dict[str, Any], state: dict[str, Tensor]) -> Checkpoint:
    try:
        config = presets.from_dict(header["config"], source=str(path))
        categories = tuple(parse_category(entry, f"{path}: its class") for entry in header["categories"])
        info = dict(header["info"])
        json.dumps(info, allow_nan=False)
    except ConfigError as error:
        raise CheckpointError(f"{error} Another version of `pisr` wrote this file: use that one.") from error
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return Checkpoint(config, categories, state, info)


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: its metadata is damaged ({show(error)}). Copy the file again from where it was written."
    )
