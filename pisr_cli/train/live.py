"""A training run on the terminal: a bar, losses and scores; plain lines where there is no terminal."""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pisr_core.training.listeners import EvaluationRecord, StartRecord, StepRecord, TrainListener

SMOOTHING = 0.95
"""Share of the past in the losses shown."""


def live_view(console: Console) -> TrainListener:
    """The listener that suits the console: a live view on a terminal, else plain lines."""
    return LiveView(console) if console.is_terminal else PlainLines(console)


class SmoothedLosses:
    """Exponential averages of the loss terms, unbiased from the first step on."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weight = 0.0

    def add(self, record: StepRecord) -> None:
        """Takes in one step."""
        self._weight = SMOOTHING * self._weight + 1.0
        for name, value in {**record.losses, "total": record.loss}.items():
            self._sums[name] = SMOOTHING * self._sums.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        """Each term and their total."""
        return {name: value / self._weight for name, value in self._sums.items()}


class LiveView(TrainListener):
    """Redraws a bar and a table in place."""

    def __init__(self, console: Console) -> None:
        self._steps = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="cyan", markup=False),
            TimeRemainingColumn(),
            console=console,
        )
        self._losses = SmoothedLosses()
        self._lr = 0.0
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def on_start(self, start: StartRecord) -> None:
        """Says what trains where, and shows the bar."""
        self._live.console.print(_headline(start))
        total = start.config.train.steps
        self._training = self._steps.add_task("training", total=total, completed=start.step, note="")
        self._evaluation = self._steps.add_task("evaluating", total=None, visible=False, note="images")
        self._live.start()

    def on_step(self, record: StepRecord) -> None:
        """Moves the bar on."""
        self._losses.add(record)
        self._lr = record.lr
        note = f"{record.images_per_second:.1f} images/s"
        self._steps.update(self._training, completed=record.step, note=note)

    def on_evaluating(self, done: int, total: int) -> None:
        """Shows a second bar while an evaluation runs."""
        self._steps.update(self._evaluation, completed=done, total=total, visible=done < total)

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """Leaves the score above the bar."""
        self._live.console.print(_evaluation_line(record))

    def on_message(self, text: str) -> None:
        """Leaves a line above the bar."""
        self._live.console.print(text)

    def on_end(self) -> None:
        """Leaves the last picture standing."""
        self._live.stop()

    def _draw(self) -> Group:
        table = Table("loss", box=None, header_style="dim")
        values = self._losses.values()
        for name in values:
            table.add_column(name, justify="right")
        table.add_column("lr", justify="right")
        table.add_row("", *(f"{value:.4f}" for value in values.values()), f"{self._lr:.2e}")
        return Group(self._steps, table) if values else Group(self._steps)


class PlainLines(TrainListener):
    """Prints a line every `log_every` steps, for log files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._losses = SmoothedLosses()
        self._began = time.monotonic()

    def on_start(self, start: StartRecord) -> None:
        """Says what trains where."""
        self._train = start.config.train
        self._first = start.step
        self._began = time.monotonic()
        self._say(_headline(start))

    def on_step(self, record: StepRecord) -> None:
        """One line: step, loss, learning rate, speed, time left."""
        self._losses.add(record)
        if record.step % self._train.log_every == 0:
            pace = (time.monotonic() - self._began) / (record.step - self._first)
            left = timedelta(seconds=round(pace * (self._train.steps - record.step)))
            self._say(
                f"step {record.step}/{self._train.steps}  loss {self._losses.values()['total']:.4f}  "
                f"lr {record.lr:.2e}  {record.images_per_second:.1f} images/s  {left} left"
            )

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """One line: the scores."""
        self._say(_evaluation_line(record))

    def on_message(self, text: str) -> None:
        """The text."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _headline(start: StartRecord) -> str:
    resumed = f", from step {start.step}" if start.step else ""
    processes = f" × {start.processes}" if start.processes > 1 else ""
    return f"training {start.config.name} on {start.device}{processes} into {start.out}{resumed}"


def _evaluation_line(record: EvaluationRecord) -> str:
    best = " (best so far)" if record.best else ""
    return f"step {record.step}: PQ {record.pq:.1f}{best}"
