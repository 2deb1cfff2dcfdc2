"""Training in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.training.listeners import TrainListener
from pisr_core.training.train import TrainResult
from pisr_core.training.train import train as train_config


def train(
    preset: str | Path | Config,
    out: str | Path,
    data: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    resume: bool = False,
    device: str | None = None,
    listeners: Sequence[TrainListener] = (),
) -> TrainResult:
    """Trains a model: what `pisr train` does, without its words.

    `train("scenes-pdl-r18", "runs/first", settings={"train.steps": 600})` leaves `runs/first/best.safetensors`,
    which `load_model(result.folder.best)` loads. Under `torchrun` all processes call it, and the first one writes.

    Args:
        preset: a preset's name, the path of a TOML file, or a `Config`.
        out: the run's folder.
        data: the folder of the datasets, else `$PISR_DATASETS`, else `./datasets`.
        settings: what to change in the preset, by dotted keys, as `--set` does.
        weights: a model to start from; classes are matched by name.
        resume: continue the run that lies in `out`.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; else the fastest here.
        listeners: hear of each step and evaluation, beside `metrics.jsonl` and TensorBoard.

    Returns:
        The run's folder, how far it came, and its PQ.

    Raises:
        PisrError: one of its children, as `pisr_core.training.train.train` lists them; what was written is whole.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    config = preset if isinstance(preset, Config) else presets.load(str(preset))
    config = presets.changed(config, settings or {})
    return train_config(
        config,
        None if data is None else Path(data),
        Path(out),
        weights=None if weights is None else Path(weights),
        resume=resume,
        device=device,
        listeners=listeners,
    )
