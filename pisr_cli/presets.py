"""`pisr presets`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import typer

from pisr_cli.terminal.console import print_json, results, score, score_table, text_table
from pisr_cli.terminal.options import Json
from pisr_core.config import Config, PaperRow
from pisr_core.errors import ConfigError


def presets(
    name: Annotated[str | None, typer.Argument(help="Show this one's settings as TOML.")] = None,
    table: Annotated[int | None, typer.Option(help="Show a table of the paper, 1 to 5, and its presets.")] = None,
    as_json: Json = False,
) -> None:
    """List the presets with the paper's rows that they stand for, or show one, or a table of the paper.

    Example: pisr presets coco-pdl-r50
    """
    from pisr_core import presets as library

    if table is not None:
        if name is not None:
            raise ConfigError(f"presets {name} --table {table}: give a preset's name or a table's number, not both.")
        _show_table(table, as_json)
    elif name is not None:
        config = library.load(name)
        if as_json:
            print_json(library.to_dict(config))
        else:
            sys.stdout.write(library.to_toml(config))
    else:
        configs = [library.load(each) for each in library.names()]
        if as_json:
            print_json([library.to_dict(config) for config in configs])
        else:
            _show_list(configs)


def _show_list(configs: list[Config]) -> None:
    listing = text_table("Presets", ("name", "description", "paper"))
    for config in configs:
        listing.add_row(config.name, config.description, "\n".join(map(_printed, config.paper)))
    results.print(listing)


def _printed(row: PaperRow) -> str:
    scores = ", ".join(f"{column} {value}" for column, value in row.scores.items())
    return f"Table {row.table}, {row.row}, {row.split}: {scores}"


def _show_table(number: int, as_json: bool) -> None:
    """A table of the paper; the rows that it introduces are bold."""
    from pisr_core.paper import load_table

    table = load_table(number)
    if as_json:
        print_json(dataclasses.asdict(table))
        return
    listing = score_table(f"Table {number}: {table.caption}", ("method, preset", *table.columns))
    listing.caption = "bold: introduced by the paper; without a preset: quoted there from other work"
    for row in table.rows:
        split = "" if row.printed.split == "val" else f" ({row.printed.split})"
        method = f"{row.printed.row}, {row.printed.backbone}{split}"
        scores = (score(row.printed.scores.get(column)) for column in table.columns)
        listing.add_row("\n  ".join(filter(None, (method, row.preset))), *scores, style="bold" if row.ours else None)
    results.print(listing)
