"""Who hears how a training run goes: the metrics file, TensorBoard, a live view."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from torch.utils.tensorboard import SummaryWriter

from pisr_core.config import Config
from pisr_core.errors import OutputError
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.obstacles import unwritable
from pisr_core.training.state import metrics_record


@dataclass(frozen=True)
class StartRecord:
    """What a run is when it starts.

    Attributes:
        config: the preset.
        out: the run's folder.
        step: steps done already, above 0 when it resumes.
        evaluated_step: when the last evaluation was.
        device: what computes, in torch's words.
        processes: how many share the work.
    """

    config: Config
    out: Path
    step: int
    device: str
    processes: int
    evaluated_step: int = 0


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step.

    Attributes:
        step: its number, from 1.
        lr: the learning rate that it used, the highest of all parameter groups.
        losses: weighted terms, averaged over the processes; their sum is the loss.
        images_per_second: over the last steps, all processes together, evaluations left out.
        waiting: the share of these steps' time in which the main process waited for images.
    """

    step: int
    lr: float
    losses: Mapping[str, float]
    images_per_second: float
    waiting: float = 0.0

    @property
    def loss(self) -> float:
        """Eq. 1."""
        return sum(self.losses.values())

    def scalars(self) -> dict[str, float]:
        """What curves show: `loss`, its terms as `loss/…`, `lr`, `images_per_second`, `waiting`."""
        terms = {f"loss/{name}": value for name, value in self.losses.items()}
        speed = {"images_per_second": self.images_per_second, "waiting": self.waiting}
        return {"loss": self.loss, **terms, "lr": self.lr, **speed}


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation.

    Attributes:
        step: steps done.
        pq: over all classes, 0–100.
        best: whether it is the best of the run so far, by what `train.best` names.
        scores: all scores, as `pisr eval --json` prints them.
    """

    step: int
    pq: float
    best: bool
    scores: Mapping[str, Any]

    def scalars(self) -> dict[str, float]:
        """What curves show: `panoptic/<group>/<pq, sq, rq>` and `semantic/miou`, as far as they are defined."""
        scores = {
            f"panoptic/{group}/{key}": self.scores["panoptic"][group][key]
            for group in ("all", "things", "stuff")
            for key in ("pq", "sq", "rq")
        }
        scores["semantic/miou"] = self.scores["semantic"]["miou"]
        return {name: value for name, value in scores.items() if value is not None}


class TrainListener:
    """Hears of a run in its main process. What it raises ends the run.

    Subclasses write the methods that they care for; the others do nothing.
    """

    def on_start(self, start: StartRecord) -> None:
        """The first step is about to be made."""

    def on_step(self, record: StepRecord) -> None:
        """A step is done; called for every one."""

    def on_evaluating(self, done: int, total: int) -> None:
        """An evaluation has seen `done` of `total` images."""

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """An evaluation is done."""

    def on_message(self, text: str) -> None:
        """Something else that a person wants to know."""

    def on_end(self) -> None:
        """The run is over, well or not."""


class Audience(TrainListener):
    """Several listeners as one; none at all in processes that must not write."""

    def __init__(self, listeners: Sequence[TrainListener]) -> None:
        self.listeners = tuple(listeners)

    def on_start(self, start: StartRecord) -> None:
        """Tells all."""
        for listener in self.listeners:
            listener.on_start(start)

    def on_step(self, record: StepRecord) -> None:
        """Tells all."""
        for listener in self.listeners:
            listener.on_step(record)

    def on_evaluating(self, done: int, total: int) -> None:
        """Tells all."""
        for listener in self.listeners:
            listener.on_evaluating(done, total)

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """Tells all."""
        for listener in self.listeners:
            listener.on_evaluation(record)

    def on_message(self, text: str) -> None:
        """Tells all."""
        for listener in self.listeners:
            listener.on_message(text)

    def on_end(self) -> None:
        """Tells all, whatever some of them raise."""
        with ExitStack() as stack:
            for listener in self.listeners:
                stack.callback(listener.on_end)


class JsonLinesListener(TrainListener):
    """Writes `metrics.jsonl`: an object a line, for a step every `log_every` and for every evaluation.

    A run that resumes first drops the lines of later steps, which it will write again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._every = 1

    def on_start(self, start: StartRecord) -> None:
        """Opens the file behind the lines of the steps that are done."""
        self._every = start.config.train.log_every
        kept = _lines_until(self.path, start)
        with written_whole(self.path) as part:
            part.write_text("".join(kept), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")

    def on_step(self, record: StepRecord) -> None:
        """One line: step, learning rate, loss, its terms, images a second, the share of waiting for them."""
        if record.step % self._every == 0:
            self._write(
                {
                    "step": record.step,
                    "lr": record.lr,
                    "loss": record.loss,
                    "losses": dict(record.losses),
                    "images_per_second": round(record.images_per_second, 3),
                    "waiting": round(record.waiting, 3),
                }
            )

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """One line: step and all scores."""
        self._write({"step": record.step, "evaluation": dict(record.scores)})

    def on_end(self) -> None:
        """Closes the file."""
        if self._file:
            with suppress(OSError):  # lines that could not be written were told of already
                self._file.close()

    def _write(self, values: dict[str, Any]) -> None:
        assert self._file is not None, "on_start opens the file"
        with _full_disk_named(self.path):
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()


class TensorBoardListener(TrainListener):
    """Writes TensorBoard events: losses and learning rate every `log_every` steps, scores of evaluations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._every = 1

    def on_start(self, start: StartRecord) -> None:
        """Opens a file of events; those of later steps, from a run that was cut short, are hidden."""
        self._every = start.config.train.log_every
        with _full_disk_named(self.folder):
            self._writer = SummaryWriter(str(self.folder), purge_step=start.step + 1)

    def on_step(self, record: StepRecord) -> None:
        """Scalars `loss/…`, `lr`, `images_per_second`, `waiting`."""
        if record.step % self._every == 0:
            self._write(record.step, record.scalars())

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """Scalars `panoptic/<group>/<pq, sq, rq>` and `semantic/miou`, as far as they are defined."""
        self._write(record.step, record.scalars())

    def on_end(self) -> None:
        """Closes the file."""
        if self._writer:
            with suppress(OSError):  # curves are not worth hiding what else went wrong
                self._writer.close()

    def _write(self, step: int, scalars: Mapping[str, float]) -> None:
        assert self._writer is not None, "on_start opens the writer"
        with _full_disk_named(self.folder):
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{unwritable(path, error)} Then continue with --resume.") from error


def _lines_until(path: Path, start: StartRecord) -> list[str]:
    """Whole lines of the steps and evaluations that are done; a killed process may have left half a line at the end."""
    kept: list[str] = []
    if not path.exists():
        return kept
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        record = metrics_record(line)
        if record is None:
            break
        if record["step"] <= (start.evaluated_step if "evaluation" in record else start.step):
            kept.append(line)
    return kept
