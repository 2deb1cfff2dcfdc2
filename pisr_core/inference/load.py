"""Trained models from their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pisr_core.config import Config
from pisr_core.errors import CheckpointError, ConfigError
from pisr_core.inference.settings import for_prediction
from pisr_core.models import TwoStageModel, build_model
from pisr_core.weights.files.checkpoint import Checkpoint
from pisr_core.weights.find import load_checkpoint


def load_model(
    name: str | Path, device: torch.device, categories: Path | None = None, settings: Sequence[str] = ()
) -> TwoStageModel:
    """The model of a checkpoint, ready to predict. What is not on this machine is fetched.

    Args:
        name: see `find_weights`.
        device: where it shall compute.
        categories: see `load_checkpoint`.
        settings: see `for_prediction`.

    Raises:
        CheckpointError: there is no such checkpoint, it cannot be used, or its weights do not fit its own config.
        ConfigError: a setting that is unknown, wrong, or belongs to training.
        DataError: the categories cannot be read.
    """
    checkpoint = load_checkpoint(name, categories)
    if settings:
        checkpoint = replace(checkpoint, config=for_prediction(checkpoint.config, settings))
    return build_trained(checkpoint, str(name), device)


def build_trained(checkpoint: Checkpoint, name: str, device: torch.device) -> TwoStageModel:
    """The model of a checkpoint that was read, ready to predict.

    Raises:
        CheckpointError: its weights do not fit its own config; the message begins with the name.
    """
    config = replace(checkpoint.config, backbone=replace(checkpoint.config.backbone, pretrained=False))
    _check_fit(name, config, checkpoint)
    model = build_model(config, checkpoint.categories)
    model.load_state_dict(checkpoint.state)
    return model.to(device).eval()


def _check_fit(name: str, config: Config, checkpoint: Checkpoint) -> None:
    """Compares names and shapes before any memory is claimed for the model that a file describes; looks for NaN."""
    try:
        with torch.device("meta"):
            wanted = build_model(config, checkpoint.categories).state_dict()
    except ConfigError as error:
        raise CheckpointError(f"{name}: {error}") from None
    expected, found = ({n: tuple(t.shape) for n, t in state.items()} for state in (wanted, checkpoint.state))
    unfit = sorted({name for name, _ in expected.items() ^ found.items()})
    if unfit:
        raise CheckpointError(
            f"{name}: its weights do not fit its config: {len(unfit)} tensors are missing, unknown or of another "
            f"shape, {unfit[0][:100]} first. Another version of `pisr` wrote it: use that one, or train again."
        )
    broken = [name for name, tensor in checkpoint.state.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise CheckpointError(
            f"{name}: {len(broken)} of its tensors hold infinite numbers or none, {broken[0]} first. Training went "
            "wrong, or the file is damaged: take another checkpoint."
        )


def newest_checkpoint(folder: Path) -> Path:
    """The newest run's `best.safetensors`, or its `last.safetensors` where there is no best yet.

    Args:
        folder: the folder of the runs.

    Raises:
        CheckpointError: no run there has a checkpoint.
    """
    bests = list(folder.glob("*/best.safetensors"))
    complete = {path.parent for path in bests}
    lasts = [path for path in folder.glob("*/last.safetensors") if path.parent not in complete]
    candidates = bests + lasts
    if not candidates:
        raise CheckpointError(
            f"{folder}: no run with a checkpoint. Take a public model, such as --checkpoint eomt-s-coco (`pisr weights "
            "list` shows them; it is fetched once), or train one: `pisr train --preset scenes-pdl-r18`."
        )
    return max(candidates, key=lambda path: path.stat().st_mtime_ns)
