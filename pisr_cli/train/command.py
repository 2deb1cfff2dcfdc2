"""`pisr train`."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pisr_cli.terminal.checkpoints import fetch
from pisr_cli.terminal.console import RUNS, messages, print_json, say
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import MODEL_NAMES, Data, Device, Json, Settings, Steps, grouped, to_write, with_steps
from pisr_cli.train.dry_run import memory_text, report_dry_run
from pisr_core.config import Config
from pisr_core.errors import ConfigError, TrainingError
from pisr_core.runtime.devices.allocation import keep_network_memory
from pisr_core.runtime.processes.gathering import end_process_group
from pisr_core.runtime.processes.parents import end_with_named

if TYPE_CHECKING:
    from pisr_core.training.listeners import TrainListener
    from pisr_core.training.train import TrainResult


@dataclass(frozen=True)
class PresetOptions:
    """A preset and what is changed in it."""

    preset: Annotated[
        str | None,
        typer.Option(help="A preset's name (`pisr presets` lists them) or the path of a TOML file.", metavar="NAME"),
    ] = None
    settings: Settings = None
    max_steps: Steps = None
    seed: Annotated[int | None, typer.Option(help="The same as --set train.seed=N.", metavar="N")] = None

    @property
    def overrides(self) -> list[str]:
        """All changes as settings."""
        seed = [] if self.seed is None else [f"train.seed={self.seed}"]
        return [*with_steps(self.settings, self.max_steps), *seed]


@dataclass(frozen=True)
class RunOptions:
    """Where a run lies and what it starts from."""

    data: Data = None
    out: Annotated[Path | None, to_write("Folder of the run; else runs/NAME.")] = None
    weights: Annotated[
        Path | None,
        typer.Option(help=f"Start from this model: {MODEL_NAMES}. Classes are matched by name.", metavar="MODEL"),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in DIR, else the newest unfinished one in ./runs.")
    ] = False


@grouped()
def train(
    chosen: PresetOptions,
    run: RunOptions,
    device: Device = None,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Try the data, two steps and an evaluation; estimate time, memory and disk. Writes nothing.",
        ),
    ] = False,
    wandb: Annotated[
        str | None,
        typer.Option(
            help="Curves to this project of Weights & Biases too (pip install '.[wandb]').", metavar="PROJECT"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model.

    Writes config.toml, metrics.jsonl, TensorBoard events, last.safetensors and best.safetensors to DIR.
    Ctrl-C saves the run; --resume continues it, on a CPU or with
    --set train.deterministic=true exactly. For several GPUs:
    torchrun --nproc-per-node 8 -m pisr_cli train --preset NAME

    Example: pisr train --preset scenes-pdl-r18 --out runs/first

    Example: pisr train --preset coco-pdl-r50 --data datasets --dry-run
    """
    end_with_named(signal.SIGTERM)  # a study's run saves its state when the study is killed
    if run.resume and chosen.preset is None and run.out is None:
        run = replace(run, out=_newest_unfinished())
    config = _config(chosen, run)
    folder = run.out or _default_folder(RUNS / config.name, run.resume)
    if run.weights is not None and not run.resume:
        fetch(run.weights)
    from pisr_core.runtime.devices.device import choose_device

    if choose_device(device).type == "cpu":
        keep_network_memory()
    main_process = int(os.environ.get("RANK", "0")) == 0
    if dry:
        if run.resume:
            raise ConfigError("--dry-run: tries a new run; leave --resume out.")
        from pisr_core.profiling.dry_run import dry_run

        tried = dry_run(config, run.data, folder, run.weights, device)
        end_process_group()
        if main_process:
            report_dry_run(tried, config, folder, as_json)
        return

    from pisr_core import train as run_training

    listeners = _listeners(wandb)
    result = run_training(
        config, folder, run.data, weights=run.weights, resume=run.resume, device=device, listeners=listeners
    )
    end_process_group()
    if main_process:
        _report(result, run.data, as_json)


def _listeners(wandb_project: str | None) -> list[TrainListener]:
    """The terminal, and Weights & Biases if asked for."""
    from pisr_cli.train.live import live_view
    from pisr_core.training.wandb_listener import WandbListener

    live = live_view(messages)
    return [live] if wandb_project is None else [live, WandbListener(wandb_project, silent=messages.quiet)]


def _config(chosen: PresetOptions, run: RunOptions) -> Config:
    """The named preset; a run that resumes brings its own."""
    from pisr_core import presets

    with quick_imports():
        from pisr_core.training.state import RunFolder

    if chosen.preset is not None:
        return presets.load(chosen.preset, chosen.overrides)
    if run.resume and run.out is not None:
        saved = RunFolder(run.out).config
        if not saved.is_file():
            raise TrainingError(
                f"{run.out}: no run to resume. Start it without --resume, or name another folder by --out."
            )
        return presets.load(str(saved), chosen.overrides)
    raise ConfigError("what to train? Name a preset: `pisr train --preset NAME`; `pisr presets` lists them.")


def _newest_unfinished() -> Path:
    from pisr_core.training.state import newest_unfinished

    folder = newest_unfinished(RUNS).path
    say(f"resuming {folder}")
    return folder


def _default_folder(base: Path, resume: bool) -> Path:
    """`base`, `base-2`, `base-3` …: the last that exists to resume, else the first that does not."""
    folder, number = base, 1
    while folder.exists():
        number += 1
        last, folder = folder, base.with_name(f"{base.name}-{number}")
    return last if resume and number > 1 else folder


def _report(result: TrainResult, data: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(_document(result))
    progress, best = result.progress, result.folder.best
    root = f" --data {data}" if data else ""
    scores = f"PQ {progress.pq:.1f}, best {progress.best_pq:.1f} at step {progress.best_step}"
    memory = result.memory
    lines = (
        f"done: {progress.step} steps, {scores}",
        *([f"memory: {memory_text(memory.peak, memory.image)}"] if memory else []),
        f"best checkpoint: {best}",
        f"next: pisr eval --checkpoint {best}{root}",
        f"      pisr predict PHOTO.jpg --checkpoint {best} --out predictions",
    )
    for line in lines:
        say(line)


def _document(result: TrainResult) -> dict[str, Any]:
    progress, folder, memory, start = result.progress, result.folder, result.memory, result.start
    return {
        "out": str(folder.path),
        "steps": progress.step,
        "pq": progress.pq,
        "best_pq": progress.best_pq,
        "best_step": progress.best_step,
        "best": str(folder.best),
        "last": str(folder.last),
        "reinitialised": list(start.kept) if start else [],
        "class_match": asdict(start.class_match) if start and start.class_match else None,
        "memory": None if memory is None else memory.peak,
        "image_memory": None if memory is None else memory.image,
    }
