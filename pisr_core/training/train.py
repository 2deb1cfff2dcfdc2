"""Training runs: from a config to checkpoints, resumable to the bit on the CPU or with `train.deterministic`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pisr_core import presets
from pisr_core.config import BALANCED, Config, LossConfig, TrainConfig
from pisr_core.data import build_dataset, settled
from pisr_core.data.augmentation import Augmentation
from pisr_core.data.datasets import training_repeats
from pisr_core.data.loading import StepSampler, TrainingDataset, training_loader
from pisr_core.data.sampling import balanced_weights
from pisr_core.errors import ConfigError
from pisr_core.models import MODELS, build_model
from pisr_core.runtime.devices.device import choose_device, warn_of_emulation
from pisr_core.runtime.devices.memory import TrainingMemory
from pisr_core.runtime.processes.parallel import Process
from pisr_core.structures import PanopticDataset, TargetGenerator, TrainingBatch
from pisr_core.training.finetune import load_fitting_weights
from pisr_core.training.learner import Learner
from pisr_core.training.listeners import Audience, JsonLinesListener, TensorBoardListener, TrainListener
from pisr_core.training.loop import Trainer
from pisr_core.training.state import Progress, RunFolder, check_same_run, read_state
from pisr_core.weights.backbone import load_backbone_weights
from pisr_core.weights.fitting import FitReport


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves.

    Attributes:
        folder: the run's files.
        progress: the steps done and the PQ reached.
        start: what became of `weights`, if any were given.
        memory: what this process needed, `None` where that is unknown.
    """

    folder: RunFolder
    progress: Progress
    start: FitReport | None = None
    memory: TrainingMemory | None = None


def train(
    config: Config,
    root: Path | None,
    out: Path,
    *,
    weights: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    listeners: Sequence[TrainListener] = (),
) -> TrainResult:
    """Trains a preset. Under `torchrun` all processes call it, and the first one writes.

    On the CPU, or with `train.deterministic`, a resumed run ends with the same bits as an uninterrupted one, wherever
    it was killed.

    Args:
        config: the preset.
        root: the folder of the datasets, see `pisr_core.data.dataset_root`.
        out: the run's folder, see `RunFolder`.
        weights: a checkpoint to start from, see `load_fitting_weights`. Unused by `resume`.
        resume: continue the run that lies in `out`.
        device: see `choose_device`; under `torchrun` CUDA devices are given out by rank.
        listeners: hear of the run, beside `metrics.jsonl` and TensorBoard.

    Raises:
        ConfigError: settings that cannot be used here.
        DataError: missing or broken data, or a loading process that died.
        CheckpointError: weights or a state that cannot be read.
        OutputError: a full disk. What is written already is whole.
        DeviceError: out of memory, or a lost GPU. The last saved state is kept.
        TrainingError: `out` holds a run already, or (to resume) none or another one; another process trains there;
            a loss is not finite.
        KeyboardInterrupt: Ctrl-C, after the state was saved; the second one at once.
    """
    trainer = build_trainer(config, root, out, weights=weights, resume=resume, device=device, listeners=listeners)
    trainer.run()
    return TrainResult(trainer.folder, trainer.progress, trainer.start, trainer.memory)


def build_trainer(
    config: Config,
    root: Path | None,
    out: Path,
    *,
    weights: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    listeners: Sequence[TrainListener] = (),
) -> Trainer:
    """Everything that `train` needs, with its arguments; nothing is written before the trainer runs."""
    folder = RunFolder(out)
    accelerator = _accelerator(config.train, device)
    if accelerator.is_main_process and not resume:
        folder.check_free()
    saved = read_state(folder.state) if resume else None
    train_set = build_dataset(config.data, "train", root)
    config = replace(config, data=settled(config.data, train_set), loss=_settled_loss(config, train_set))
    val_set = build_dataset(config.data, config.train.eval_split, root)
    identity = _identity(config, train_set)
    if saved:
        check_same_run(folder.state, saved.identity, identity)

    if config.train.best == "pq_th" and not any(category.isthing for category in train_set.categories):
        raise ConfigError("train.best = 'pq_th': the dataset has no thing class. Choose pq or miou.")
    torch.manual_seed(config.train.seed)
    model = build_model(_without_download(config) if saved else config, train_set.categories)
    if not saved:
        load_backbone_weights(model, config.backbone)
    start = load_fitting_weights(model, weights) if weights and not saved else None
    if config.train.freeze != "none":
        model.freeze(config.train.freeze)
    learner = Learner(model, config.train, accelerator)
    if saved:
        learner.load_state_dict(saved.learner)
    progress = saved.progress if saved else Progress()
    own = (JsonLinesListener(folder.metrics), TensorBoardListener(folder.tensorboard))
    return Trainer(
        config=config,
        folder=folder,
        learner=learner,
        batches=_batches(config, train_set, model.target_generator(), accelerator, progress.step),
        train_set=train_set,
        val_set=val_set,
        identity=identity,
        progress=progress,
        audience=Audience((*own, *listeners) if accelerator.is_main_process else ()),
        resumed=resume,
        start=start,
    )


def _settled_loss(config: Config, dataset: PanopticDataset) -> LossConfig:
    """The loss with numbers in place of `balanced`, so that a run that resumes has the same."""
    if config.loss.class_weights != BALANCED or config.architecture not in MODELS:
        return config.loss
    weights = balanced_weights(dataset, MODELS[config.architecture].counted_by_segments)
    return replace(config.loss, class_weights=weights)


def _accelerator(config: TrainConfig, device_name: str | None) -> Accelerator:
    """Device, precision and processes of a run."""
    device = choose_device(device_name)
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("train.precision = 'fp16': the CPU has none; take 'bf16' or 'no'.")
    warn_of_emulation(device, config.precision)
    if device.index is not None:
        torch.cuda.set_device(device)
    # Accelerate keeps one state a process, and a second run may want another device or precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=device.type == "cpu", mixed_precision=config.precision)


def _batches(
    config: Config,
    dataset: PanopticDataset,
    targets: TargetGenerator,
    accelerator: Accelerator,
    start_step: int,
) -> Iterator[TrainingBatch]:
    """This process's micro-batches from a step on."""
    train = config.train
    sampler = StepSampler(
        size=len(dataset),
        batch_size=train.batch_size,
        steps=train.steps,
        seed=train.seed,
        start_step=start_step,
        process=Process(accelerator.process_index, accelerator.num_processes),
        accumulate=train.accumulate,
        repeats=training_repeats(config.data, dataset),
    )
    views = TrainingDataset(dataset, Augmentation(config.data), targets, train.seed)
    return iter(training_loader(views, sampler, config.data.workers, accelerator.device, config.data.timeout))


def _identity(config: Config, dataset: PanopticDataset) -> dict[str, Any]:
    """What must be the same for a run to continue."""
    classes = [category.name for category in dataset.categories]
    return {**presets.to_dict(config), "dataset": {"images": len(dataset), "classes": classes}}


def _without_download(config: Config) -> Config:
    """The same network, but without fetching weights that a state will overwrite."""
    return replace(config, backbone=replace(config.backbone, pretrained=False))
