"""Training runs: from a config to checkpoints, resumable to the bit on the CPU."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pisr_core import presets
from pisr_core.config import Config, TrainConfig
from pisr_core.data import build_dataset
from pisr_core.data.augmentation import Augmentation
from pisr_core.data.loading import StepSampler, TrainingDataset, training_loader
from pisr_core.engine.device import choose_device
from pisr_core.engine.evaluation import evaluate
from pisr_core.engine.finetune import load_fitting_weights
from pisr_core.engine.interruption import StopRequest
from pisr_core.engine.learner import Learner
from pisr_core.engine.listeners import (
    Audience,
    EvaluationRecord,
    JsonLinesListener,
    StartRecord,
    StepRecord,
    TensorBoardListener,
    TrainListener,
)
from pisr_core.engine.state import Progress, RunFolder, TrainingState, check_same_run, read_state, save_state
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.structures import PanopticDataset, TargetGenerator, TrainingBatch
from pisr_core.weights.atomic import written_whole
from pisr_core.weights.checkpoint import save_checkpoint

RATE_STEPS = 50
"""Steps over which images a second are averaged."""


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves.

    Attributes:
        folder: the run's files.
        progress: the steps done and the PQ reached.
        reinitialised: tensors that `weights` did not fit and that started from their initial values.
    """

    folder: RunFolder
    progress: Progress
    reinitialised: tuple[str, ...] = ()


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

    On the CPU a resumed run ends with the same bits as an uninterrupted one, wherever it was killed.

    Args:
        config: the preset.
        root: the folder of the datasets, see `pisr_core.data.dataset_root`.
        out: the run's folder, see `RunFolder`.
        weights: a checkpoint to start from; what does not fit keeps its initial values. Unused by `resume`.
        resume: continue the run that lies in `out`.
        device: see `choose_device`; under `torchrun` CUDA devices are given out by rank.
        listeners: hear of the run, beside `metrics.jsonl` and TensorBoard.

    Raises:
        ConfigError: settings that cannot be used here.
        DataError: missing or broken data.
        CheckpointError: weights or a state that cannot be read or written.
        TrainingError: `out` holds a run already, or (to resume) none or another one; a loss is not finite.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    folder = RunFolder(out)
    accelerator = _accelerator(config.train, device)
    if accelerator.is_main_process and not resume:
        folder.check_free()
    saved = read_state(folder.state) if resume else None
    train_set = build_dataset(config.data, "train", root)
    val_set = build_dataset(config.data, "val", root)
    identity = _identity(config, train_set)
    if saved:
        check_same_run(folder.state, saved.identity, identity)

    torch.manual_seed(config.train.seed)
    model = build_model(_without_download(config) if saved else config, train_set.categories)
    reinitialised = load_fitting_weights(model, weights) if weights and not saved else ()
    learner = Learner(model, config.train, accelerator)
    if saved:
        learner.load_state_dict(saved.learner)
    progress = saved.progress if saved else Progress()
    own = (JsonLinesListener(folder.metrics), TensorBoardListener(folder.tensorboard))
    trainer = Trainer(
        config=config,
        folder=folder,
        learner=learner,
        batches=_batches(config, train_set, model.target_generator(), accelerator, progress.step),
        val_set=val_set,
        identity=identity,
        progress=progress,
        audience=Audience((*own, *listeners) if accelerator.is_main_process else ()),
    )
    trainer.run()
    return TrainResult(folder, trainer.progress, reinitialised)


@dataclass
class Trainer:
    """The loop: steps, evaluations, checkpoints and states, each when it is due.

    Attributes:
        config: the preset.
        folder: where it writes.
        learner: what learns.
        batches: the micro-batches of all steps that are left.
        val_set: what evaluations read.
        identity: plain values that define the run, kept in its states.
        progress: how far it is.
        audience: who hears of it; nobody but in the main process.
    """

    config: Config
    folder: RunFolder
    learner: Learner
    batches: Iterator[TrainingBatch]
    val_set: PanopticDataset
    identity: Mapping[str, Any]
    progress: Progress
    audience: Audience

    def run(self) -> None:
        """Makes the steps that are left, then a last evaluation. Stops early on SIGINT or SIGTERM."""
        try:
            if self.progress.step == 0:
                self._prepare_folder()
            self.audience.on_start(self._start_record())
            with StopRequest() as stop:
                self._make_steps(stop)
        finally:
            self.audience.on_end()
        stop.obey()

    def _make_steps(self, stop: StopRequest) -> None:
        config = self.config.train
        self.learner.model.train()
        durations: deque[float] = deque(maxlen=RATE_STEPS)
        for step in range(self.progress.step + 1, config.steps + 1):
            lr, start = self.learner.lr, time.perf_counter()
            losses = self.learner.step(step, islice(self.batches, config.accumulate))
            durations.append(time.perf_counter() - start)
            rate = config.batch_size * len(durations) / sum(durations)
            self.progress = replace(self.progress, step=step)
            self.audience.on_step(StepRecord(step, lr, losses, rate))
            if self._is_due(config.eval_every):
                self._evaluate()
            stopping = self._all_agree_to_stop(stop)
            if stopping or self._is_due(config.save_every):
                self._save()
            if stopping:
                self.audience.on_message("state saved; --resume continues from here")
                return

    def _is_due(self, every: int) -> bool:
        step = self.progress.step
        return step == self.config.train.steps or (every > 0 and step % every == 0)

    def _all_agree_to_stop(self, stop: StopRequest) -> bool:
        """Whether any process was asked to stop: all must leave the loop at the same step."""
        accelerator = self.learner.accelerator
        asked = stop.signal is not None
        if accelerator.num_processes == 1:
            return asked
        return bool(accelerator.reduce(torch.tensor(float(asked), device=accelerator.device)).item())

    def _evaluate(self) -> None:
        config, accelerator = self.config, self.learner.accelerator
        result = evaluate(
            self.learner.evaluated,
            self.val_set,
            config.data,
            accelerator.device,
            batch_size=config.train.batch_size // (config.train.accumulate * accelerator.num_processes),
            workers=config.data.workers,
            limit=config.train.eval_images,
            progress=self.audience.on_evaluating,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            instances=False,  # AP takes longer than all other scores; `pisr eval` counts it
        )
        scores = result.to_json()
        pq = scores["panoptic"]["all"]["pq"] or 0.0  # undefined without any segment
        best = self.progress.best_pq is None or pq > self.progress.best_pq
        self.progress = replace(self.progress, pq=pq)
        if best:
            self.progress = replace(self.progress, best_pq=pq, best_step=self.progress.step)
            self._save_weights(self.folder.best)
        self.audience.on_evaluation(EvaluationRecord(self.progress.step, pq, best, scores))

    def _prepare_folder(self) -> None:
        """Writes the config and a first state, so that from now on the folder can be resumed."""
        if self.learner.accelerator.is_main_process:
            with written_whole(self.folder.config) as part:
                part.write_text(presets.to_toml(self.config), encoding="utf-8")
            self._save_state()

    def _save(self) -> None:
        # The weights first: a state at the last step must mean that nothing is left to do.
        self._save_weights(self.folder.last)
        self._save_state()

    def _save_weights(self, path: Path) -> None:
        if self.learner.accelerator.is_main_process:
            state = self.learner.evaluated.state_dict()
            save_checkpoint(path, state, self.config, self.val_set.categories, asdict(self.progress))

    def _save_state(self) -> None:
        if self.learner.accelerator.is_main_process:
            state = TrainingState(self.progress, self.identity, self.learner.state_dict())
            save_state(self.folder.state, state)

    def _start_record(self) -> StartRecord:
        accelerator = self.learner.accelerator
        device, processes = str(accelerator.device), accelerator.num_processes
        return StartRecord(self.config, self.folder.path, self.progress.step, device, processes)


def _accelerator(config: TrainConfig, device_name: str | None) -> Accelerator:
    """Device, precision and processes of a run."""
    device = choose_device(device_name)
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("train.precision = 'fp16': the CPU has none; take 'bf16' or 'no'.")
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
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        accumulate=train.accumulate,
    )
    views = TrainingDataset(dataset, Augmentation(config.data), targets, train.seed)
    return iter(training_loader(views, sampler, config.data.workers, accelerator.device))


def _identity(config: Config, dataset: PanopticDataset) -> dict[str, Any]:
    """What must be the same for a run to continue."""
    classes = [category.name for category in dataset.categories]
    return {**presets.to_dict(config), "dataset": {"images": len(dataset), "classes": classes}}


def _without_download(config: Config) -> Config:
    """The same network, but without fetching weights that a state will overwrite."""
    return replace(config, backbone=replace(config.backbone, pretrained=False))
