"""A training run tried out before it is started: does it work, how long will it take, what does it need?"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from pisr_core.config import Config, TrainConfig
from pisr_core.data.loading import worker_count
from pisr_core.errors import TrainingError
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.runtime.devices.device import device_error
from pisr_core.runtime.devices.memory import TrainingMeter
from pisr_core.training.loop import Trainer
from pisr_core.training.train import build_trainer
from pisr_core.weights.fitting import ClassMatch

TRIALS = 2
"""Steps and evaluations that are made. The first ones warm up; the last ones are measured."""

LESS_MEMORY = (
    "Set train.checkpointing = 'all', raise train.accumulate, which cuts the same batch into smaller parts, or choose "
    "a smaller train.batch_size or data.crop, or train.precision = 'bf16'."
)


@dataclass(frozen=True)
class DryRun:
    """What was tried, measured and estimated.

    Attributes:
        device: what computed, in torch's words.
        processes: how many shared the work.
        parameters: of the network.
        train_images: in the training split.
        val_images: that an evaluation during training reads.
        classes: names of the classes, in order.
        losses: weighted terms of the first step.
        step_seconds: a step without its data.
        loading_seconds: reading and augmenting this process's images of a step, in one process.
        workers: processes that will do it meanwhile; with 0 the step waits for it.
        evaluation_seconds: an image of the validation split, read, predicted and compared.
        memory: bytes at the peak: of torch on a GPU, of the process beyond its start on Linux' CPU, `None` elsewhere.
        image_memory: bytes that each image of a micro-batch adds to what is held between steps.
        images_per_second: of all processes together, evaluations left out.
        estimated_seconds: the whole run.
        disk: bytes of the checkpoints and the state, and of the copy beside them while one is written.
        free: bytes that are free where they shall lie.
        reinitialised: tensors that the weights given do not fit.
        class_match: how their classes meet the data's.
    """

    device: str
    processes: int
    parameters: int
    train_images: int
    val_images: int
    classes: tuple[str, ...]
    losses: Mapping[str, float]
    step_seconds: float
    loading_seconds: float
    workers: int
    evaluation_seconds: float
    memory: int | None
    image_memory: int | None
    images_per_second: float
    estimated_seconds: float
    disk: int
    free: int
    reinitialised: tuple[str, ...]
    class_match: ClassMatch | None


def dry_run(
    config: Config, root: Path | None, out: Path, weights: Path | None = None, device: str | None = None
) -> DryRun:
    """Builds all of a run, makes two of its steps and evaluates an image twice. Nothing is written.

    Args:
        config: the preset.
        root: the folder of the datasets.
        out: where the run would write.
        weights: see `pisr_core.training.train.train`.
        device: see `pisr_core.runtime.devices.device.choose_device`.

    Raises:
        PisrError: what the run itself would raise; the message is the same.
    """
    trainer = build_trainer(_without_workers(config), root, out, weights=weights, device=device)
    accelerator, train = trainer.learner.accelerator, config.train
    meter = TrainingMeter(accelerator.device, trainer.images_at_once)
    try:
        first_losses, loading, computing = _try_steps(trainer, meter)
        evaluating = _try_evaluations(trainer)
    except (RuntimeError, MemoryError) as error:
        if (fault := device_error(error, LESS_MEMORY)) is None:
            raise
        raise fault from error
    memory = meter.result()
    workers = worker_count(config.data.workers)
    pace = max(computing, loading / workers) if workers else computing + loading
    val_images = min(train.eval_images or len(trainer.val_set), len(trainer.val_set))
    evaluated = evaluations(train) * val_images / accelerator.num_processes
    return DryRun(
        device=str(accelerator.device),
        processes=accelerator.num_processes,
        parameters=sum(parameter.numel() for parameter in trainer.learner.model.parameters()),
        train_images=trainer.identity["dataset"]["images"],
        val_images=val_images,
        classes=tuple(category.name for category in trainer.val_set.categories),
        losses=first_losses,
        step_seconds=computing,
        loading_seconds=loading,
        workers=workers,
        evaluation_seconds=evaluating,
        memory=None if memory is None else memory.peak,
        image_memory=None if memory is None else memory.image,
        images_per_second=train.batch_size / pace,
        estimated_seconds=train.steps * pace + evaluated * evaluating,
        disk=_disk(trainer),
        free=shutil.disk_usage(_existing(out)).free,
        reinitialised=trainer.start.kept if trainer.start else (),
        class_match=trainer.start.class_match if trainer.start else None,
    )


def evaluations(config: TrainConfig) -> int:
    """How often a run evaluates: every `eval_every` steps, and at the end."""
    if not config.eval_every:
        return 1
    return -(-config.steps // config.eval_every)


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in nested tables and lists."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        value = list(value.values())
    return sum(map(tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def _without_workers(config: Config) -> Config:
    """Images are read by this process, so that the time of reading can be told from that of the step."""
    return replace(config, data=replace(config.data, workers=0))


def _try_steps(trainer: Trainer, meter: TrainingMeter) -> tuple[Mapping[str, float], float, float]:
    """The first step's losses; the last one's seconds of reading and of computing."""
    config, learner = trainer.config.train, trainer.learner
    learner.model.train()
    all_losses = []
    for step in range(1, min(TRIALS, config.steps) + 1):
        start = time.perf_counter()
        batches = list(islice(trainer.batches, config.accumulate))
        read = time.perf_counter()
        all_losses.append(learner.step(step, batches))  # waits for the device
        done = time.perf_counter()
        meter.step_done()
        _check_finite(all_losses[-1], step)
    return all_losses[0], read - start, done - read


def _check_finite(losses: Mapping[str, float], step: int) -> None:
    broken = [f"{name} = {value}" for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        raise TrainingError(
            f"step {step}: the loss is not finite ({', '.join(broken)}). Look at the images (`pisr data check`), or "
            "lower train.lr, set train.clip_norm or use train.precision = 'no'."
        )


def _try_evaluations(trainer: Trainer) -> float:
    """The last one's seconds."""
    model, device = trainer.learner.evaluated, trainer.learner.accelerator.device
    for _ in range(TRIALS):
        start = time.perf_counter()
        with trainer.learner.evaluating():
            evaluate(model, trainer.val_set, trainer.config.data, device, workers=0, limit=1, instances=False)
    return time.perf_counter() - start


def _disk(trainer: Trainer) -> int:
    """Best and last weights, two states, and the largest once more: it is replaced when the new one is whole."""
    weights = tensor_bytes(trainer.learner.evaluated.state_dict())
    state = tensor_bytes(trainer.learner.state_dict())
    return 2 * weights + 2 * state + max(weights, state)


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
