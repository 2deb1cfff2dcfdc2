"""The command `pisr`. Commands import torch inside their functions, so that help appears at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_command

from pisr_cli.terminal.console import set_loudness
from pisr_cli.terminal.errors import exit_codes
from pisr_cli.terminal.low_memory import try_large_imports
from pisr_cli.terminal.on_demand import OnDemand, Place

COMMANDS = {
    "train": Place("pisr_cli.train.command", "train"),
    "eval": Place("pisr_cli.eval.command", "evaluate"),
    "predict": Place("pisr_cli.predict", "predict", shows_help=True),
    "serve": Place("pisr_cli.serve", "serve"),
    "visualize-heatmaps": Place("pisr_cli.visualize_heatmaps", "visualize_heatmaps", shows_help=True),
    "presets": Place("pisr_cli.presets", "presets"),
    "flops": Place("pisr_cli.flops", "flops"),
    "export": Place("pisr_cli.export", "export", shows_help=True),
    "ablate-k": Place("pisr_cli.ablate_k", "ablate_k"),
    "study": Place("pisr_cli.study", "study", shows_help=True),
    "env": Place("pisr_cli.env", "env"),
    "data": Place("pisr_cli.data.command", "app"),
    "weights": Place("pisr_cli.weights.command", "app"),
}
"""In the order of the help."""


class Commands(TyperGroup):
    """All of `COMMANDS`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = OnDemand(COMMANDS)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"pisr {version('pisr')}")
        raise typer.Exit


@app.callback()
def settings(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is going on.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors; no progress.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Panoptic segmentation with relations between things and stuff (PISR).

    Example: pisr predict photo.jpg --checkpoint runs/scenes-pdl-r18/best.safetensors --out predictions
    """
    set_loudness(verbose, quiet)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 a mistake that the user can mend, 1 a bug, 130 Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text, and JSON escapes so too
    with exit_codes():
        try_large_imports()
        command_line()(args=arguments, prog_name="pisr")


def command_line() -> Any:
    """All commands, with help that shows what is written: typer would take `'.[export]'` for a style."""
    command: Any = get_command(app)
    _escape_own_help(command)
    command.commands = OnDemand(COMMANDS, finish=_escape_help)
    return command


def _escape_help(command: Any) -> None:
    _escape_own_help(command)
    for below in getattr(command, "commands", {}).values():
        _escape_help(below)


def _escape_own_help(command: Any) -> None:
    command.help = escape(command.help or "")
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
