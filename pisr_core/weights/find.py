"""Checkpoints by name: a file of ours, a known name, a model of the hub, or a folder in the hub's layout."""

from __future__ import annotations

import difflib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from pisr_core import presets
from pisr_core.data.categories import known_categories, read_categories
from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.download import Progress, download
from pisr_core.weights.files.checkpoint import Checkpoint, is_checkpoint, read_checkpoint, read_info
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.hub.fetching import SAFETENSORS, HubName, fetch_model, parse_hub_name
from pisr_core.weights.hub.folder import check_kind, read_hub_folder
from pisr_core.weights.public.eomt import read_eomt_file
from pisr_core.weights.public.importing import load_public_weights
from pisr_core.weights.public.sources import SOURCES, WeightsSource

FILE_ENDINGS = (".safetensors", ".pth", ".pt", ".pkl", ".bin", ".ckpt")
"""A name that ends so is a file's, even where there is no such file."""


def cache_folder() -> Path:
    """Where files are kept that are used by name: `$PISR_CACHE`, else `pisr` in the user's folder for caches."""
    given = os.environ.get("PISR_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pisr"


@dataclass(frozen=True)
class FoundWeights:
    """Where weights lie on this machine.

    Attributes:
        name: as the user gave it.
        path: a file, or a folder in the hub's layout.
        base: the folder of the weights that these hold the difference to.
        source: what is known of them, `None` for a user's own.
    """

    name: str
    path: Path
    base: Path | None = None
    source: WeightsSource | None = None


def find_weights(
    name: str | Path, progress: Progress = lambda done, total: None, to_predict: bool = False
) -> FoundWeights:
    """Finds weights by name, and fetches those that are not here.

    Args:
        name: a file or folder; a name of `SOURCES`; `USER/NAME` or `USER/NAME@REVISION` on the Hugging Face hub.
        progress: hears how much is fetched; never called for what is here.
        to_predict: refuse weights that can only start a training, before they are fetched.

    Raises:
        CheckpointError: there is no such file, name or model, or it cannot do what is wanted.
        DownloadError: it cannot be fetched, or has other bytes than published.
    """
    text = Path(name).as_posix()
    hub_name = parse_hub_name(text)
    if text in SOURCES:
        return _known(text, SOURCES[text], progress, to_predict)
    if os.path.exists(text):
        return FoundWeights(text, Path(text))
    if text.endswith(FILE_ENDINGS) or hub_name is None:
        close = difflib.get_close_matches(text, SOURCES, n=3)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise CheckpointError(
            f"{text}: no such file. {hint}Name a checkpoint that `pisr train` wrote, such as RUN/best.safetensors, a "
            "model that `pisr weights list` shows, or USER/NAME on the Hugging Face hub."
        )
    return FoundWeights(text, fetch_model(hub_name, progress, check_kind))


def _known(name: str, source: WeightsSource, progress: Progress, to_predict: bool) -> FoundWeights:
    if to_predict and source.use != "predict":
        raise CheckpointError(
            f"{name}: these weights can only start a training ({source.description}): "
            f"pisr train --preset {source.preset} --weights {name}"
        )
    if not source.hub:
        folder = cache_folder()
        if constants.HF_HUB_OFFLINE and not (folder / source.file.name).is_file():
            raise CheckpointError(
                f"{name}: not in the cache ({folder}), and HF_HUB_OFFLINE is set. Unset it once where there is a "
                f"network, or put {source.url} there."
            )
        return FoundWeights(name, download(source.file, folder, progress), source=source)
    path = fetch_model(HubName(source.hub), progress)
    base = fetch_model(HubName(source.base), progress) if source.base else None
    return FoundWeights(name, path, base, source)


def copy_weights(found: FoundWeights, folder: Path) -> Path:
    """Copies a file, or the files of a folder, into a folder.

    Returns:
        The copied file, or the folder.

    Raises:
        OutputError: a file cannot be written.
    """
    files = [found.path] if found.path.is_file() else sorted(found.path.iterdir())
    for file in files:
        with written_whole(folder / file.name) as part:
            shutil.copyfile(file, part)
    return folder / found.path.name if found.path.is_file() else folder


def load_checkpoint(
    name: str | Path, categories: Path | None = None, to_predict: bool = True, base: str | Path | None = None
) -> Checkpoint:
    """A checkpoint by name; public weights become one of their base model. Nothing that a file holds is executed.

    Args:
        name: see `find_weights`.
        categories: see `read_categories`; for models of the hub that do not say what is a thing.
        to_predict: refuse weights that can only start a training, and classes of which nothing says what is a thing.
        base: of a file that holds only the difference to other weights: these, see `find_weights`.

    Raises:
        CheckpointError: see `find_weights`; or the file is broken, of another kind, or cannot do what is wanted.
        DataError: the categories cannot be read.
    """
    found = find_weights(name, to_predict=to_predict)
    if found.source is not None and not found.source.hub:
        return _imported(found, found.source, to_predict)
    path = found.path / SAFETENSORS if found.path.is_dir() else found.path
    if is_checkpoint(path):
        return read_checkpoint(path)
    classes = read_categories(categories) if categories else None
    base_folder = found.base if base is None else find_weights(base).path
    if found.path.is_dir():
        return _named(found, read_hub_folder(found.path, classes, base_folder, to_predict))
    if _is_of_eomts_authors(path):
        return read_eomt_file(path, classes, base_folder, to_predict)
    return read_checkpoint(path)  # which says what it is instead


def checkpoint_info(name: str | Path) -> dict[str, Any]:
    """Where a checkpoint's weights come from, see `Checkpoint.info`; empty for public weights. Reads no tensor."""
    path = find_weights(name).path
    path = path / SAFETENSORS if path.is_dir() else path
    return read_info(path) if is_checkpoint(path) else {}


def _is_of_eomts_authors(path: Path) -> bool:
    """Whether a file is named as EoMT's authors name their networks, which say all of themselves."""
    try:
        return any(name.startswith("network.encoder.") for name in read_tensors(path))
    except CheckpointError:
        return False


def _named(found: FoundWeights, checkpoint: Checkpoint) -> Checkpoint:
    """Under the name that the user gave, for its folder in the cache has a commit's."""
    name = found.name.rpartition("/")[2] or found.name
    return replace(
        checkpoint, config=replace(checkpoint.config, name=name), info={**checkpoint.info, "name": found.name}
    )


def _imported(found: FoundWeights, source: WeightsSource, to_predict: bool) -> Checkpoint:
    """The base model of the preset that a public file fits."""
    config = presets.load(source.preset, [*source.settings, "relation.name=none", "backbone.pretrained=false"])
    categories = known_categories(config.data.dataset)
    torch.manual_seed(config.train.seed)
    model = build_model(config, categories)
    report = load_public_weights(model, found.path)
    if to_predict and (report.missing or report.reinitialised):
        raise CheckpointError(
            f"{found.path}: {len(report.missing) + len(report.reinitialised)} of the network's tensors are not in it. "
            "Remove the file, and call again to fetch it anew."
        )
    config = replace(config, name=found.name)
    info = {"imported": found.path.name, "source": report.source, "name": found.name}
    return Checkpoint(config, categories, model.state_dict(), info)
