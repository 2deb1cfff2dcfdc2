"""`pisr study`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pisr_cli.terminal.checkpoints import fetch
from pisr_cli.terminal.console import messages, print_json, results, say, score_table
from pisr_cli.terminal.options import MODEL_NAMES, Data, Json, Parallel, Settings, Steps, grouped, to_write, with_steps
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.results.table import Cell, ResultsTable
    from pisr_core.studies.processes import Training
    from pisr_core.studies.study import Study
    from pisr_core.studies.study_report import StudyReport

TRAIN = (sys.executable, "-m", "pisr_cli", "train")
"""What a study starts for each of its runs."""


@dataclass(frozen=True)
class PlanOptions:
    """What is trained."""

    preset: Annotated[str, typer.Option(help="The preset that all variants change.", metavar="NAME")]
    variants: Annotated[
        str,
        typer.Option(help="Variants of Table 5, and the controls `heads` and `convolutions`.", metavar="NAME,NAME…"),
    ] = "none,heads,convolutions,concat,product,ocr,noreweight,pisr"
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            help="One of your own, such as area:relation.normalization=area. Repeatable.",
            metavar="NAME:KEY=VALUE,…",
        ),
    ] = None
    seeds: Annotated[str, typer.Option(help="Each variant is trained with each of them.", metavar="N,N…")] = "0,1,2"
    steps: Steps = None
    settings: Settings = None
    data: Data = None
    split: Annotated[
        str, typer.Option(help="What the runs are scored on: nothing may have been chosen by it.", metavar="NAME")
    ] = "val"
    weights: Annotated[
        Path | None,
        typer.Option(
            help=f"Start all runs from this model: {MODEL_NAMES}. {{seed}} in it stands for the seed.", metavar="MODEL"
        ),
    ] = None

    def plan(self, folder: Path) -> Study:
        """The study that these options describe."""
        from pisr_core.studies.study import Study, parse_variant

        if self.weights is not None and "{seed}" not in str(self.weights):
            fetch(self.weights)
        variants = tuple(map(parse_variant, [*filter(None, self.variants.split(",")), *(self.more or [])]))
        overrides = (f"train.eval_split={self.split}", *with_steps(self.settings, self.steps))
        return Study(self.preset, variants, parse_seeds(self.seeds), folder, overrides, self.data, self.weights)


@grouped()
def study(
    what: PlanOptions,
    against: Annotated[
        str, typer.Option(help="The variant whose gain over the others is tested.", metavar="NAME")
    ] = "pisr",
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Report this class's PQ too. Repeatable.", metavar="NAME")
    ] = None,
    parallel: Parallel = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:1 …; else the GPUs in turn, or the CPU.")] = None,
    out: Annotated[Path | None, to_write("Folder of the study; else studies/PRESET.")] = None,
    as_json: Json = False,
) -> None:
    """Train variants with several seeds and compare them (Table 5).

    All runs of a seed start from the same backbone, decoder and heads, see the same images and make equally
    many steps. The same command continues a study that was stopped, or adds variants and seeds to it.

    Example: pisr study --preset scenes-pdl-r18 --steps 600 --seeds 0,1,2 --out studies/table5

    Example: pisr study --preset scenes-pdl-r18 --variants pisr --variant area:relation.normalization=area
    """
    from pisr_core.studies.study_report import study_report, write_report

    folder = out or Path("studies") / Path(what.preset).stem
    plan = what.plan(folder)
    names = [variant.name for variant in plan.variants]
    if against not in names:
        raise ConfigError(f"--against {against}: is not studied; choose one of {', '.join(names)}.")
    report = study_report(train_study(plan, parallel, device), against, classes or ())
    write_report(report, folder, f"Study of {what.preset}")
    if as_json:
        print_json({"out": str(folder), **report.to_json()})
    else:
        _show(report)
    say(f"written: {folder / 'study.html'}, study.csv, summary.csv, study.png, forest.png")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` as numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--seeds {text}: write whole numbers with commas, such as 0,1,2.") from None


def train_study(plan: Study, parallel: int | None, device: str | None) -> ResultsTable:
    """Makes the runs that are left, with a bar for each that is at work."""
    from pisr_core.studies.processes import machine_slots
    from pisr_core.studies.study import run_study

    with _bars() as bars:
        return run_study(plan, TRAIN, machine_slots(parallel, device), bars.on_start, bars.on_progress, bars.on_done)


class _Bars:
    """One bar for all runs, and one for each that is at work; a line for each that is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._all = progress.add_task("runs", total=None)
        self._tasks: dict[str, TaskID] = {}

    def on_start(self, waiting: int) -> None:
        """Says what is left to do."""
        self._progress.update(self._all, total=waiting)

    def on_progress(self, training: Training, step: int) -> None:
        """Moves a run's bar."""
        if training.name not in self._tasks:
            self._tasks[training.name] = self._progress.add_task(training.name, total=training.steps)
            self._progress.console.print(f"{training.name}: log in {training.log}", soft_wrap=True)
        self._progress.update(self._tasks[training.name], completed=step)

    def on_done(self, row: Mapping[str, Cell]) -> None:
        """Says a run's score."""
        name = f"{row['variant']}-seed{row['seed']}"
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))
        self._progress.advance(self._all)
        pq = "–" if row["pq"] is None else f"{row['pq']:.1f}"
        self._progress.console.print(f"{name}: PQ {pq}")


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=messages, disable=not messages.is_terminal) as progress:
        yield _Bars(progress)


def _show(report: StudyReport) -> None:
    from pisr_core.studies.study_report import gain_heading, gain_rows, score_rows

    scores = score_table("Mean ± standard deviation", ("variant", "seeds", *report.metrics.values()))
    for row in score_rows(report):
        scores.add_row(*row)
    gains = score_table(f"What {report.reference} gains", gain_heading(report))
    for row in gain_rows(report):
        gains.add_row(*row)
    results.print(scores)
    results.print(gains)
    results.print(report.caution)
