"""`pisr data`."""

from __future__ import annotations

import typer

from pisr_cli.data import convert as data_convert
from pisr_cli.data.check import check
from pisr_cli.data.prepare import prepare

app = typer.Typer(help="Make datasets ready.", no_args_is_help=True)
app.command("prepare", no_args_is_help=True)(prepare)
app.command("check", no_args_is_help=True)(check)
app.add_typer(data_convert.app, name="convert")


@app.callback()
def data() -> None:
    """Make datasets ready."""
