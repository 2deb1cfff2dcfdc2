"""Weights files into our models: checkpoints of ours, and public weights by the names that their programs give."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pisr_core.config import Config
from pisr_core.errors import CheckpointError
from pisr_core.models import MODELS, TwoStageModel, build_model
from pisr_core.structures import Category
from pisr_core.weights.files.checkpoint import Checkpoint, is_checkpoint, read_checkpoint, save_checkpoint
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.fitting import FitReport, Weights, load_fitting
from pisr_core.weights.public.layouts import Found, detect_layout, rename_tensors

logger = logging.getLogger(__name__)


def import_weights(
    path: Path, config: Config, categories: Sequence[Category], out: Path, backbone_only: bool = False
) -> FitReport:
    """Writes a checkpoint of a preset that starts from public weights.

    What the file does not give is initialised from `train.seed`.

    Args:
        path: see `read_tensors`.
        config: the preset.
        categories: its dataset's.
        out: the checkpoint, `*.safetensors`.
        backbone_only: see `load_public_weights`.

    Raises:
        CheckpointError: the file cannot be used for the preset.
        OutputError: `out` cannot be written.
    """
    torch.manual_seed(config.train.seed)
    model = build_model(replace(config, backbone=replace(config.backbone, pretrained=False)), categories)
    report = load_public_weights(model, path, backbone_only)
    kept = len(report.missing) + len(report.reinitialised)
    if kept:
        logger.warning("%d tensors keep their initial values: the model must be trained before it is used", kept)
    save_checkpoint(out, model.state_dict(), config, categories, {"imported": path.name, "source": report.source})
    return report


def load_public_weights(model: TwoStageModel, path: Path, backbone_only: bool = False) -> FitReport:
    """Loads every tensor that fits of a file by any program, or of a checkpoint of ours.

    Args:
        model: of the file's architecture.
        path: see `read_tensors`.
        backbone_only: leave the rest of the file alone; files that hold a backbone alone need no such hint.

    Raises:
        CheckpointError: the file cannot be read, or holds another network than the model.
    """
    if is_checkpoint(path):
        return load_fitting(model, checkpoint_weights(path, read_checkpoint(path)), backbone_only)
    found = detect_layout(path, read_tensors(path))
    backbone_only = backbone_only or found.layout.backbone_only
    _check_architecture(path, found, model, backbone_only)
    renamed = rename_tensors(path, found)
    names = dict(zip(renamed, found.tensors, strict=True))
    weights = Weights(path, found.source, renamed, names, prefix=found.prefix, elsewhere=found.elsewhere)
    return load_fitting(model, weights, backbone_only)


def checkpoint_weights(path: Path, checkpoint: Checkpoint) -> Weights:
    """The weights of a checkpoint of ours, whose classes are known."""
    names = {name: name for name in checkpoint.state}
    return Weights(path, "a checkpoint of pisr", checkpoint.state, names, checkpoint.categories)


def _check_architecture(path: Path, found: Found, model: TwoStageModel, backbone_only: bool) -> None:
    architecture = found.layout.architecture
    if backbone_only or not architecture or isinstance(model, MODELS[architecture]):
        return
    raise CheckpointError(
        f"{path}: it is {found.source}, but the preset {model.config.name} builds a {type(model).__name__}. "
        f"Choose a preset of {architecture}, or take the backbone alone with --backbone-only."
    )
