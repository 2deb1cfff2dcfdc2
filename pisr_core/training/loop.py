"""The loop of a training run: steps, evaluations, checkpoints and states, each when it is due."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.data.loading import worker_count
from pisr_core.errors import DataError, DeviceError, TrainingError
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.devices.arithmetic import arithmetic
from pisr_core.runtime.devices.device import device_error
from pisr_core.runtime.devices.memory import TrainingMemory, TrainingMeter
from pisr_core.runtime.processes.interruption import Stopped, StopRequest
from pisr_core.runtime.processes.locking import only_process
from pisr_core.runtime.processes.parallel import Process
from pisr_core.structures import PanopticDataset, TrainingBatch
from pisr_core.training.learner import Learner
from pisr_core.training.listeners import Audience, EvaluationRecord, StartRecord, StepRecord
from pisr_core.training.pace import Pace, waiting_advice
from pisr_core.training.state import Progress, RunFolder, TrainingState, drop_damaged_state, read_state, save_state
from pisr_core.weights.files.checkpoint import save_checkpoint
from pisr_core.weights.fitting import FitReport

BEST: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "pq": lambda scores: scores["panoptic"]["all"]["pq"],
    "pq_th": lambda scores: scores["panoptic"]["things"]["pq"],
    "miou": lambda scores: scores["semantic"]["miou"],
}
"""The scores that `train.best` names; `None` where there is nothing to score."""


@dataclass
class Trainer:
    """A run that is ready to go.

    Attributes:
        config: the preset.
        folder: where it writes.
        learner: what learns.
        batches: the micro-batches of all steps that are left.
        train_set: what they come from.
        val_set: what evaluations read.
        identity: plain values that define the run, kept in its states.
        progress: how far it is.
        audience: who hears of it; nobody but in the main process.
        resumed: whether it continues the run that lies in the folder.
        start: what became of the weights that it starts from, if any were given.
        memory: what `run` took in this process, `None` where nobody tells.
    """

    config: Config
    folder: RunFolder
    learner: Learner
    batches: Iterator[TrainingBatch]
    train_set: PanopticDataset
    val_set: PanopticDataset
    identity: Mapping[str, Any]
    progress: Progress
    audience: Audience
    resumed: bool = False
    start: FitReport | None = None
    memory: TrainingMemory | None = None
    _saved_step: int = field(default=0, init=False)
    _pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self._pace = Pace(self.config.train.batch_size)

    def run(self) -> None:
        """Makes the steps that are left, then a last evaluation. Stops early on SIGINT or SIGTERM.

        Raises:
            PisrError: see `pisr_core.training.train.train`. What is saved is whole.
        """
        self._saved_step = self.progress.step
        meter = TrainingMeter(self.learner.accelerator.device, self.images_at_once)
        with ExitStack() as stack:
            if self._is_main:
                stack.enter_context(only_process(self.folder.lock))
                self._prepare_folder()
            stack.callback(self.audience.on_end)
            self.audience.on_start(self._start_record())
            train = self.config.train
            stack.enter_context(arithmetic(train.tf32, train.deterministic))
            stop = stack.enter_context(StopRequest())
            stack.enter_context(self._device_faults_explained())
            self._make_steps(stop, meter)
            self.memory = meter.result()
        stop.obey()

    @property
    def images_at_once(self) -> int:
        """Of a micro-batch in this process."""
        train = self.config.train
        return train.batch_size // (train.accumulate * self.learner.accelerator.num_processes)

    def _make_steps(self, stop: StopRequest, meter: TrainingMeter) -> None:
        self.learner.model.train()
        if self._out_of_patience:
            return
        if self._evaluation_is_due() and self._close_step(stop):  # stopped in or before that evaluation
            return
        for step in range(self.progress.step + 1, self.config.train.steps + 1):
            start = time.perf_counter()
            try:
                with self._state_kept(), self._interruptible(stop):
                    batches = list(islice(self.batches, self.config.train.accumulate))
            except Stopped:
                self._close_step(stop)
                return
            except DataError:
                if stop.signal is None:
                    raise
                return  # the signal ended the loading processes too
            self._make_step(step, batches, time.perf_counter() - start)
            meter.step_done()
            if self._close_step(stop):
                return

    def _make_step(self, step: int, batches: Sequence[TrainingBatch], waited: float) -> None:
        lr, start = self.learner.lr, time.perf_counter()
        losses = self.learner.step(step, batches)
        self._pace.add(waited, time.perf_counter() - start)
        averaged = self._averaged(losses)
        self._check_finite(losses, averaged, step, batches)
        self.progress = replace(self.progress, step=step)
        pace = self._pace
        self.audience.on_step(StepRecord(step, lr, averaged, pace.images_per_second, pace.waiting))
        if pace.waits_too_long():
            workers = self.config.data.workers
            self.audience.on_message(waiting_advice(pace.waiting, worker_count(workers), worker_count(-1)))

    def _close_step(self, stop: StopRequest) -> bool:
        """Evaluates and saves when it is due. Returns whether the run shall stop, with its state saved."""
        stopping = self._in_any_process(stop.signal is not None)
        if not stopping and self._evaluation_is_due():
            with self._state_kept():
                stopping = not self._evaluate(stop)
        ending = stopping or self._out_of_patience
        if ending or self._is_due(self.config.train.save_every):
            self._save()
        if stopping:
            self.audience.on_message("state saved; --resume continues from here")
        elif ending:
            progress, best = self.progress, self.config.train.best
            since = f"no better {best} in {progress.worse_evaluations} evaluations, since step {progress.best_step}"
            self.audience.on_message(f"stopped at step {progress.step}: {since} (train.patience)")
        return ending

    @property
    def _out_of_patience(self) -> bool:
        return 0 < self.config.train.patience <= self.progress.worse_evaluations

    def _interruptible(self, stop: StopRequest) -> AbstractContextManager[None]:
        """For what leaves the learner as it is. Of several processes none may leave alone."""
        return stop.at_once() if self.learner.accelerator.num_processes == 1 else nullcontext()

    def _is_due(self, every: int) -> bool:
        step = self.progress.step
        return step == self.config.train.steps or (every > 0 and step > 0 and step % every == 0)

    def _evaluation_is_due(self) -> bool:
        return self._is_due(self.config.train.eval_every) and self.progress.evaluated_step < self.progress.step

    @property
    def _is_main(self) -> bool:
        return self.learner.accelerator.is_main_process

    def _in_any_process(self, flag: bool) -> bool:
        """Whether any process says so: all must leave the loop at the same step."""
        accelerator = self.learner.accelerator
        if accelerator.num_processes == 1:
            return flag
        return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device)).item())

    def _averaged(self, losses: Mapping[str, float]) -> Mapping[str, float]:
        """The mean over all processes."""
        accelerator = self.learner.accelerator
        if accelerator.num_processes == 1:
            return losses
        values = torch.tensor(list(losses.values()), device=accelerator.device)
        return dict(zip(losses, accelerator.reduce(values, "mean").tolist(), strict=True))

    def _check_finite(
        self, own: Mapping[str, float], averaged: Mapping[str, float], step: int, batches: Sequence[TrainingBatch]
    ) -> None:
        """All processes stop together, for the main one would save what another one spoilt.

        The loss of this step knows nothing of its gradient, which would spoil the state that is saved next.
        """
        norm = self.learner.gradient_norm
        if all(map(math.isfinite, (norm, *averaged.values()))):
            return
        values = {**own, "the gradient's norm": norm}
        broken = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if not broken:
            raise TrainingError(f"step {step}: the loss is not finite in another process, which names the images.")
        names = [self.train_set.file_name(index) for batch in batches for _, index in batch.keys]
        raise TrainingError(
            f"step {step}: the loss or its gradient is not finite ({', '.join(broken)}) on the images "
            f"{', '.join(names)}. Look at these images and their annotations, or start a new run with a lower "
            "train.lr, with train.clip_norm or with train.precision = 'no' "
            f"(--weights {self.folder.last} keeps what was learned). The state of step {self._saved_step} is kept."
        )

    def _evaluate(self, stop: StopRequest) -> bool:
        """Returns whether it was made to its end. Several processes always do, for none could leave alone."""
        config, accelerator = self.config, self.learner.accelerator

        try:
            with self.learner.evaluating(), self._interruptible(stop):
                result = evaluate(
                    self.learner.evaluated,
                    self.val_set,
                    config.data,
                    accelerator.device,
                    batch_size=self.images_at_once,
                    workers=config.data.workers,
                    limit=config.train.eval_images,
                    progress=self.audience.on_evaluating,
                    process=Process(accelerator.process_index, accelerator.num_processes),
                    instances=False,  # AP takes longer than all other scores; `pisr eval` counts it
                )
        except Stopped:
            return False
        self._note_scores(result.to_json())
        return True

    def _note_scores(self, scores: Mapping[str, Any]) -> None:
        pq = scores["panoptic"]["all"]["pq"] or 0.0  # undefined without any segment
        progress = self.progress.evaluated(pq, BEST[self.config.train.best](scores) or 0.0)
        best = progress.worse_evaluations == 0
        if best:
            self._save_weights(self.folder.best, progress)
        self.audience.on_evaluation(EvaluationRecord(progress.step, pq, best, scores))
        self.progress = progress  # last, for when something cannot be written the evaluation is made again

    def _prepare_folder(self) -> None:
        """Makes sure that the folder is as it was found, and that from now on the run in it can be resumed."""
        if not self.resumed:
            self.folder.check_free()
        else:
            drop_damaged_state(self.folder.state)
            if read_state(self.folder.state, mapped=True).progress != self.progress:
                raise TrainingError(
                    f"{self.folder.path}: another process trained there meanwhile. Start --resume again."
                )
        self.folder.remove_parts()
        with written_whole(self.folder.config) as part:
            part.write_text(presets.to_toml(self.config), encoding="utf-8")
        if not self.resumed:
            self._save_state()

    def _save(self) -> None:
        # The weights first: a state at the last step must mean that nothing is left to do.
        self._save_weights(self.folder.last, self.progress)
        self._save_state()

    def _save_weights(self, path: Path, progress: Progress) -> None:
        if self._is_main:
            state = self.learner.evaluated.state_dict()
            save_checkpoint(path, state, self.config, self.val_set.categories, asdict(progress))

    def _save_state(self) -> None:
        if self._is_main:
            state = TrainingState(self.progress, self.identity, self.learner.state_dict())
            save_state(self.folder.state, state)
        self._saved_step = self.progress.step

    @contextmanager
    def _state_kept(self) -> Iterator[None]:
        """For what leaves the learner as it is, reading and evaluating: whatever ends it, the steps are kept."""
        try:
            yield
        except Exception:
            with suppress(Exception):  # the first error says more, for example that the GPU is lost
                if self._saved_step < self.progress.step:
                    self._save()
                self.audience.on_message(f"state of step {self._saved_step} saved; --resume continues from here")
            raise

    @contextmanager
    def _device_faults_explained(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            fault = device_error(error, self._less_memory())
            if fault is None:
                raise
            raise DeviceError(f"{fault} The state of step {self._saved_step} is kept; see --resume.") from error

    def _less_memory(self) -> str:
        train, crop = self.config.train, self.config.data.crop
        return (
            f"It trained with train.batch_size = {train.batch_size}, train.accumulate = {train.accumulate}, "
            f"data.crop = {list(crop)}, train.precision = '{train.precision}'. Set train.checkpointing = 'all', or "
            "raise train.accumulate, which cuts the same batch into smaller parts; both may change when a run resumes. "
            "Or start a new run with a smaller train.batch_size or data.crop, or with train.precision = 'bf16'."
        )

    def _start_record(self) -> StartRecord:
        accelerator, progress = self.learner.accelerator, self.progress
        device, processes = str(accelerator.device), accelerator.num_processes
        return StartRecord(self.config, self.folder.path, progress.step, device, processes, progress.evaluated_step)
