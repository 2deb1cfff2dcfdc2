"""What commands share to speak: results on stdout; messages, logs and progress bars on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import filesize
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

RUNS = Path("runs")
"""Folder of the runs that have no `--out`, and of the checkpoints that need no name."""

_AS_WRITTEN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Names of classes and files may hold what rich would take for styles (`[red]`) or pictures (`:car:`)."""

messages = Console(stderr=True, **_AS_WRITTEN)
"""For people, on stderr; silent with --quiet."""

alerts = Console(stderr=True, **_AS_WRITTEN)
"""Warnings and errors, on stderr; never silent."""

results = Console(**_AS_WRITTEN)
"""For what was asked for, on stdout."""

SECONDS_BETWEEN_LINES = 10
"""Of progress, where there is no terminal for bars."""


def say(text: str) -> None:
    """A message for people, exactly as it is written."""
    messages.print(text, soft_wrap=True)


def print_json(document: dict[str, Any] | list[Any]) -> None:
    """Writes one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def set_loudness(verbose: bool, quiet: bool) -> None:
    """Sends the log to stderr: warnings of every library, `pisr`'s own from INFO (DEBUG when verbose).

    Args:
        verbose: say more.
        quiet: neither messages nor bars, and nothing but warnings of `pisr`'s own.
    """
    messages.quiet = quiet
    # Through the console of the bars, if there are any: a log's line then stands above them.
    handler = RichHandler(console=alerts if quiet else messages, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger("pisr_core").setLevel(level)


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """The speed over the last steps, or over all of them when the work is done."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "–/s", style="cyan")


class PlainProgress:
    """Progress as lines, for log files and pipes: every ten seconds, and at the end.

    Args:
        description: what goes on.
        in_bytes: the count is one of bytes.
    """

    def __init__(self, description: str, in_bytes: bool = False) -> None:
        self._description = description
        self._text = filesize.decimal if in_bytes else str
        self._began = self._printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Prints a line if it is time to."""
        now = time.monotonic()
        if done == total or now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            progress = f"{self._description}: {self._text(done)} of {self._text(total)}"
            messages.print(f"{progress}, {now - self._began:.0f} s", soft_wrap=True)


@contextmanager
def progress_bar(description: str, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr with the count, the rate and the time left; now and then a line where stderr is no terminal.

    Args:
        description: what goes on.
        in_bytes: the count is one of bytes.

    Yields:
        A function of (done, total) to call as the work goes on.
    """
    if not messages.is_terminal:
        yield PlainProgress(description, in_bytes)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *((DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(), RateColumn())),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=messages) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def text_table(title: str, columns: Sequence[str]) -> Table:
    """An empty table of text; its first column, the names, is never cut."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    return table


def score_table(title: str, columns: Sequence[str]) -> Table:
    """The same with right-aligned numbers after the first column."""
    table = text_table(title, columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def score(value: float | None) -> str:
    """A score of 0–100 with one decimal; a dash where there is none."""
    return "–" if value is None else f"{value:.1f}"
