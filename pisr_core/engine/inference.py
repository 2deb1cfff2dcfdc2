"""Trained models from their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pisr_core.errors import CheckpointError
from pisr_core.models import PanopticModel, build_model
from pisr_core.weights.checkpoint import read_checkpoint


def load_model(path: Path, device: torch.device) -> PanopticModel:
    """The model of a checkpoint, ready to predict. Nothing is downloaded.

    Raises:
        CheckpointError: the file cannot be used, or its weights do not fit its own config.
    """
    checkpoint = read_checkpoint(path)
    backbone = replace(checkpoint.config.backbone, pretrained=False)
    model = build_model(replace(checkpoint.config, backbone=backbone), checkpoint.categories)
    try:
        model.load_state_dict(checkpoint.state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: its weights do not fit its config ({error}). Another version of `pisr` wrote it: "
            "use that one, or train again."
        ) from None
    return model.to(device).eval()


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
            f"{folder}: no run with a checkpoint. Name one with --checkpoint, or train with `pisr train`."
        )
    return max(candidates, key=lambda path: path.stat().st_mtime_ns)
