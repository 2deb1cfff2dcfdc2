"""`pisr presets`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import typer

from pisr_cli.terminal.console import print_json, progress_bar, results, score, score_table, text_table
from pisr_cli.terminal.options import Json
from pisr_core.config import Config
from pisr_core.errors import ConfigError


def presets(
    name: Annotated[str | None, typer.Argument(help="Show this one's settings as TOML.")] = None,
    table: Annotated[int | None, typer.Option(help="Show a table of the paper, 1 to 5, and its presets.")] = None,
    backbones: Annotated[
        str | None,
        typer.Option(help="Show the backbones whose names match, such as 'convnext*'.", metavar="PATTERN"),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the presets with the paper's rows that they stand for, or show one, or a table of the paper.

    Every network of timm that gives maps of images of any size can be a backbone: --set backbone.name=NAME, or
    NAME.TAG for other weights of it than timm's first.

    Example: pisr presets coco-pdl-r50
    """
    from pisr_core import presets as library

    if [name, table, backbones].count(None) < 2:
        raise ConfigError("presets: give a preset's name, --table or --backbones, not both.")
    if backbones is not None:
        _show_backbones(backbones, as_json)
    elif table is not None:
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
    """A line each: what its name does not say, and where the paper has it with which PQ on val."""
    listing = text_table("Presets", ("name", "what", "table", "PQ"))
    listing.caption = "table, PQ: of the paper; pisr presets NAME shows all of one"
    for config in configs:
        tables = ", ".join(dict.fromkeys(str(row.table) for row in config.paper))
        quality = [row.scores["PQ"] for row in config.paper if row.split == "val"]
        listing.add_row(config.name, config.description.split(": ", 1)[-1], tables, *map(score, quality[:1]))
    results.print(listing)


def _show_backbones(pattern: str, as_json: bool) -> None:
    """Networks of timm with matching names, asked one by one what they give."""
    from pisr_core.backbones import describe_backbones, matching_names

    names = matching_names(pattern)
    with progress_bar("asking timm") as progress:
        found = describe_backbones(names, progress)
    if as_json:
        print_json([dataclasses.asdict(backbone) for backbone in found])
        return
    listing = text_table("Backbones", ("backbone.name", "channels", "strides", "size", "tags of weights"))
    for backbone in found:
        strides = " ".join(map(str, backbone.output_strides))
        size = f"{backbone.parameters / 1e6:.1f}"
        channels = " ".join(map(str, backbone.channels))
        listing.add_row(backbone.name, channels, strides, size, ", ".join(backbone.tags) or "none")
    others = len(names) - len(found)
    listing.caption = "strides: choices of backbone.output_stride; size: parameters, millions" + (
        f"; {others} more match, but take images of one size only" if others else ""
    )
    results.print(listing)


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
