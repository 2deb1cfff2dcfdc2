"""A run's folder and the state that it resumes from."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.errors import CheckpointError, TrainingError
from pisr_core.runtime.atomic import written_whole
from pisr_core.weights.files.damage import MALFORMED, first_line

logger = logging.getLogger(__name__)

STATE = Path("state", "training.pt")
"""Where the state lies in a run's folder."""

PREVIOUS = "previous.pt"
"""The state before, beside it."""

FREE_SETTINGS = (
    "data.timeout",
    "data.workers",
    "train.accumulate",
    "train.checkpointing",
    "train.compile",
    "train.deterministic",
    "train.log_every",
    "train.patience",
    "train.save_every",
    "train.tf32",
)
"""What may change when a run resumes. Of these only `train.accumulate` changes numbers by more than rounding."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what.

    Attributes:
        path: `DIR` of `--out`.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The whole preset."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's events."""
        return self.path / "tensorboard"

    @property
    def last(self) -> Path:
        """The newest weights."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights with the best evaluation."""
        return self.path / "best.safetensors"

    @property
    def state(self) -> Path:
        """What the run resumes from."""
        return self.path / STATE

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.state.with_name("lock")

    def remove_parts(self) -> None:
        """Removes what killed processes left half-written. Only for the one that holds the lock."""
        for part in self.path.rglob(".*.part"):
            part.unlink()

    def check_free(self) -> None:
        """Raises `TrainingError` when a run lies here already."""
        taken = next((path for path in (self.state, self.last, self.best) if path.exists()), None)
        if taken:
            raise TrainingError(
                f"{self.path} holds a run already ({taken.name}): continue it with --resume, or choose another --out."
            )


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        pq: of the last evaluation, 0–100, `None` before the first.
        best_pq: of the weights in `best.safetensors`.
        best_step: when that was.
        evaluated_step: when the last evaluation was; a run may stop between a step and its evaluation.
        best_score: by which these weights are the best, 0–100: what `train.best` names.
        worse_evaluations: since then.
    """

    step: int = 0
    pq: float | None = None
    best_pq: float | None = None
    best_step: int = 0
    evaluated_step: int = 0
    best_score: float | None = None
    worse_evaluations: int = 0

    def evaluated(self, pq: float, score: float) -> Progress:
        """After an evaluation of the newest weights.

        Args:
            pq: over all classes, 0–100.
            score: what `train.best` names.
        """
        now = replace(self, pq=pq, evaluated_step=self.step)
        if self.best_score is not None and score <= self.best_score:
            return replace(now, worse_evaluations=self.worse_evaluations + 1)
        return replace(now, best_pq=pq, best_step=self.step, best_score=score, worse_evaluations=0)

    def is_finished(self, steps: int, patience: int) -> bool:
        """Whether all steps are made and evaluated, or `train.patience` is at its end."""
        return self.evaluated_step >= steps or 0 < patience <= self.worse_evaluations


@dataclass(frozen=True)
class TrainingState:
    """All that an exact continuation needs.

    Attributes:
        progress: how far the run is.
        identity: the plain values that define the run: its config and its data.
        learner: `Learner.state_dict()`.
    """

    progress: Progress
    identity: Mapping[str, Any]
    learner: Mapping[str, Any]


def save_state(path: Path, state: TrainingState) -> None:
    """Writes the state in place of the one before, which is kept beside it; `path` is whole at any moment.

    Raises:
        OutputError: it cannot be written. The state before is intact.
    """
    values = {
        "progress": asdict(state.progress),
        "identity": json.dumps(state.identity),
        "learner": dict(state.learner),
    }
    with written_whole(path) as part:
        with part.open("wb") as file:
            torch.save(values, file)
        _keep(path)


def state_before(path: Path) -> Path:
    """Where `save_state` keeps the state that it replaces."""
    return path.with_name(PREVIOUS)


def _keep(path: Path) -> None:
    """Gives the state that is about to be replaced a second name."""
    if not path.is_file():
        return
    before = state_before(path)
    before.unlink(missing_ok=True)
    try:
        os.link(path, before)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, before)


def read_state(path: Path, mapped: bool = False) -> TrainingState:
    """Reads what `save_state` wrote, tensors on the CPU, or the state before where it is damaged.

    Every byte is checked by the sums that `torch.save` writes and torch itself does not read. Nothing is executed.

    Args:
        path: the file.
        mapped: leave the tensors on the disk until they are used.

    Raises:
        TrainingError: there is no state.
        CheckpointError: the file is damaged or foreign, and so is the one before, if there is any.
    """
    if not path.is_file():
        raise TrainingError(
            f"{path}: no state to resume from. Start a run without --resume, or name a run's folder by --out."
        )
    try:
        return _read_whole(path, mapped)
    except MALFORMED as error:
        damage = f"{path}: not a whole training state ({first_line(error)})"
        try:
            state = _read_whole(state_before(path), mapped)
        except MALFORMED:
            raise CheckpointError(
                f"{damage}. Start a new run from its weights: --weights RUN/last.safetensors and another --out."
            ) from error
    logger.warning("%s; the one before it, of step %d, is taken", damage, state.progress.step)
    return state


def _read_whole(path: Path, mapped: bool) -> TrainingState:
    """A state; raises one of `MALFORMED` where it is not what was written."""
    with zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            raise zipfile.BadZipFile(f"the sum of its part {broken} differs")
    values = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    progress = values["progress"]
    # Former versions chose by PQ, and did not say so.
    progress = Progress(**{"best_score": progress["best_pq"], **progress})
    return TrainingState(progress, json.loads(values["identity"]), values["learner"])


def drop_damaged_state(path: Path) -> None:
    """Puts the state before in the place of a damaged one, so that the next save keeps one that is whole.

    Only for the process that holds the lock, and where `read_state` gave a state.
    """
    try:
        _read_whole(path, mapped=True)
    except MALFORMED:
        os.replace(state_before(path), path)


def newest_unfinished(folder: Path) -> RunFolder:
    """The run with the newest state among those that have steps or an evaluation left.

    Args:
        folder: is searched with all below it.

    Raises:
        TrainingError: there is none.
    """
    states = sorted(folder.glob(f"**/{STATE}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in states:
        try:
            state = read_state(path, mapped=True)
            train = state.identity["train"]
            finished = state.progress.is_finished(train["steps"], train.get("patience", 0))
        except (CheckpointError, KeyError, TypeError) as error:
            logger.warning("%s: left aside (%s)", path, error)
            continue
        if not finished:
            return RunFolder(path.parent.parent)
    raise TrainingError(f"{folder}: no unfinished run. Start one without --resume, or name a run's folder by --out.")


def check_same_run(path: Path, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raises `TrainingError` naming every setting in which a run differs from the saved one.

    `FREE_SETTINGS` may differ, which is logged. A setting that came with a later version had its default.
    """
    changed = changed_settings(saved, current, presets.to_dict(Config()))
    refused = [text for key, text in changed.items() if key not in FREE_SETTINGS]
    if refused:
        raise TrainingError(
            f"{path} is the state of another run ({'; '.join(refused)}). Resume with the settings in its "
            "config.toml and with the same data, or start a new run with --weights and another --out."
        )
    if changed:
        logger.info("resuming with %s", "; ".join(changed.values()))


def changed_settings(
    saved: Mapping[str, Any], current: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """`key: before → now`, by its key, of every value in which two nested tables differ.

    Args:
        saved: before.
        current: now.
        defaults: what entries of `current` were before where `saved` does not say.
    """
    # Through JSON, which makes lists of tuples.
    before, now, usual = (_flat(json.loads(json.dumps(table))) for table in (saved, current, defaults or {}))
    before = {key: usual[key] for key in now if key in usual} | before
    keys = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    return {key: f"{key}: {before.get(key)} → {now.get(key)}" for key in keys}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def metrics_record(line: str) -> dict[str, Any] | None:
    """What a line of `metrics.jsonl` holds; `None` for a part of one, or anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
