"""Training runs on Weights & Biases, beside TensorBoard."""

from __future__ import annotations

import importlib
import re
import secrets
from pathlib import Path
from typing import Any

from pisr_core import presets
from pisr_core.errors import ConfigError
from pisr_core.runtime.atomic import written_whole
from pisr_core.training.listeners import EvaluationRecord, StartRecord, StepRecord, TrainListener

RUN_ID = Path("state", "wandb_id")
"""Where a run's folder keeps the id of its W&B run."""


class WandbListener(TrainListener):
    """Sends losses, learning rate and scores to Weights & Biases; a run that resumes continues its W&B run.

    `WANDB_MODE=offline` keeps everything in `DIR/wandb`, for `wandb sync`.

    Args:
        project: W&B's name of the project; it is made when it is new.
        silent: W&B says nothing on the terminal.

    Raises:
        ConfigError: the package is missing.
    """

    def __init__(self, project: str, silent: bool = False) -> None:
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise ConfigError(
                "--wandb: the package wandb is missing. Install it: pip install '.[wandb]', or leave --wandb out."
            ) from error
        self.project = project
        self.silent = silent
        self._run: Any = None
        self._every = self._last_step = self._step = 0

    def on_start(self, start: StartRecord) -> None:
        """Starts the W&B run, or continues that of the folder.

        Raises:
            ConfigError: W&B refuses, for example without a login.
        """
        self._every, self._last_step = start.config.train.log_every, start.config.train.steps
        self._step = start.step
        try:
            self._run = self._wandb.init(
                project=self.project,
                name=start.out.name,
                id=_run_id(start),
                resume="allow",
                dir=str(start.out),
                config=presets.to_dict(start.config),
                # Its copy of what the terminal shows would break bars that are redrawn in place.
                settings=self._wandb.Settings(console="off", silent=self.silent),
            )
        except self._wandb.Error as error:
            raise ConfigError(
                f"--wandb: {error} Or set WANDB_MODE=offline, which keeps the curves in the run's folder."
            ) from error
        # W&B's own count of steps refuses those that a resumed run makes again after a kill.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def on_step(self, record: StepRecord) -> None:
        """Scalars `loss/…`, `lr`, `images_per_second`, `waiting`."""
        self._step = record.step
        if record.step % self._every == 0:
            self._run.log({"step": record.step, **record.scalars()})

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """Scalars `panoptic/<group>/<pq, sq, rq>` and `semantic/miou`, as far as they are defined."""
        self._run.log({"step": record.step, **record.scalars()})

    def on_end(self) -> None:
        """Ends the W&B run, as failed where steps are left."""
        if self._run is not None:
            self._run.finish(exit_code=int(self._step < self._last_step))


def _run_id(start: StartRecord) -> str:
    """That of the folder where the run resumes, else a new one."""
    path = start.out / RUN_ID
    if start.step and path.is_file():
        saved = path.read_text(encoding="utf-8", errors="replace")
        if re.fullmatch("[0-9a-f]{8}", saved):
            return saved
    run_id = secrets.token_hex(4)
    with written_whole(path) as part:
        part.write_text(run_id, encoding="utf-8")
    return run_id
