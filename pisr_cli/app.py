"""The command `pisr`. Commands import torch inside their functions, so that help appears at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.main import get_command

from pisr_cli.ablate_k import ablate_k
from pisr_cli.data import command as data
from pisr_cli.env import env
from pisr_cli.eval.command import evaluate
from pisr_cli.export import export
from pisr_cli.flops import flops
from pisr_cli.predict import predict
from pisr_cli.presets import presets
from pisr_cli.serve import serve
from pisr_cli.study import study
from pisr_cli.terminal.console import set_loudness
from pisr_cli.terminal.errors import exit_codes
from pisr_cli.terminal.low_memory import try_large_imports
from pisr_cli.train.command import train
from pisr_cli.visualize_heatmaps import visualize_heatmaps
from pisr_cli.weights import command as weights

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("predict", no_args_is_help=True)(predict)
app.command("serve")(serve)
app.command("visualize-heatmaps", no_args_is_help=True)(visualize_heatmaps)
app.command("presets")(presets)
app.command("flops")(flops)
app.command("export", no_args_is_help=True)(export)
app.command("ablate-k")(ablate_k)
app.command("study", no_args_is_help=True)(study)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.command("env")(env)


def _show_version(wanted: bool) -> None:
    if wanted:
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
    command = get_command(app)
    _escape_help(command)
    return command


def _escape_help(command: Any) -> None:
    command.help = escape(command.help or "")
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
    for below in getattr(command, "commands", {}).values():
        _escape_help(below)
