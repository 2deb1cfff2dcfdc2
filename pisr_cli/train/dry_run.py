"""What `pisr train --dry-run` says."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pisr_cli.terminal.console import alerts, print_json, results, text_table
from pisr_core.config import Config

if TYPE_CHECKING:
    from pisr_core.profiling.dry_run import DryRun


def report_dry_run(tried: DryRun, config: Config, out: Path, as_json: bool) -> None:
    """Prints what was found, and warns where the disk is too small."""
    if as_json:
        print_json({"preset": config.name, "out": str(out), **asdict(tried)})
    else:
        _show(tried, config)
    if tried.disk > tried.free:
        alerts.print(
            f"warning: {out}: {_size(tried.disk)} are needed, {_size(tried.free)} are free.",
            style="yellow",
            soft_wrap=True,
        )


def _show(tried: DryRun, config: Config) -> None:
    from pisr_core.weights.fitting import class_lines

    train = config.train
    processes = f" × {tried.processes}" if tried.processes > 1 else ""
    losses = ", ".join(f"{name} {value:.3f}" for name, value in tried.losses.items())
    waits = "" if tried.workers else ", for which the step waits"
    table = text_table(f"Dry run of {config.name}: nothing was written", ("what", "found"))
    table.add_row("images", f"{tried.train_images} to train on, {tried.val_images} in each evaluation")
    table.add_row("classes", f"{len(tried.classes)}: {', '.join(tried.classes)}")
    table.add_row("parameters", f"{tried.parameters / 1e6:.1f} M")
    table.add_row("device", f"{tried.device}{processes}")
    table.add_row("first losses", losses)
    table.add_row("a step", f"{tried.step_seconds:.2f} s, {train.batch_size} images")
    table.add_row("its data", f"{tried.loading_seconds:.2f} s in one process, {tried.workers} workers{waits}")
    table.add_row("speed", f"{tried.images_per_second:.1f} images/s")
    table.add_row("an evaluation", f"{tried.evaluation_seconds:.2f} s an image")
    table.add_row("memory", memory_text(tried.memory, tried.image_memory))
    table.add_row("whole run", f"about {timedelta(seconds=round(tried.estimated_seconds))}, {train.steps} steps")
    table.add_row("disk", f"{_size(tried.disk)} needed, {_size(tried.free)} free")
    for line in class_lines(tried.class_match):
        table.add_row(*line.split(": ", 1))
    if tried.reinitialised:
        table.add_row("start anew", "\n".join(tried.reinitialised))
    results.print(table)


def memory_text(peak: int | None, image: int | None) -> str:
    """What training takes, for people."""
    if peak is None:
        return "unknown here"
    return f"{_size(peak)} at the peak" + ("" if image is None else f", {_size(image)} for each image at once")


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
