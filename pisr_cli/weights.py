"""`pisr weights`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.console import print_json, progress_bar, results, say, text_table
from pisr_cli.terminal.options import Json, Settings
from pisr_core.config import Config, check_choice

if TYPE_CHECKING:
    from pisr_core.structures import Category
    from pisr_core.weights.importing import ImportReport, Unfit

app = typer.Typer(help="Start from public weights.", no_args_is_help=True)


@app.callback()
def weights() -> None:
    """Start from public weights."""


@app.command("list")
def list_weights(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """List the public weights that `pisr weights download` knows; --json adds addresses, digests and pages.

    Example: pisr weights list
    """
    from pisr_core.weights.sources import SOURCES

    if as_json:
        print_json([{"name": name, **asdict(source)} for name, source in SOURCES.items()])
        return
    table = text_table("Public weights", ("name", "what", "preset", "licence"))
    for name, source in SOURCES.items():
        table.add_row(name, source.description, source.preset, source.licence)
    results.print(table)


@app.command("download", no_args_is_help=True)
def download(
    name: Annotated[str, typer.Argument(help="A name that `pisr weights list` shows.")],
    out: Annotated[Path, typer.Option(help="Folder for the file.", metavar="DIR")] = Path("weights"),
    as_json: Json = False,
) -> None:
    """Fetch public weights and check their bytes. A call that was interrupted continues.

    Example: pisr weights download pdl-r50-cityscapes
    """
    from pisr_core.weights.download import download as fetch
    from pisr_core.weights.sources import SOURCES

    check_choice("NAME", name, tuple(SOURCES))
    source = SOURCES[name]
    with progress_bar(source.file_name, in_bytes=True) as progress:
        path = fetch(source, out, progress)
    if as_json:
        print_json({"name": name, "path": str(path), **asdict(source)})
    say(f"next: pisr weights import {path} --preset {source.preset}")


@app.command("import", no_args_is_help=True)
def import_file(
    file: Annotated[Path, typer.Argument(help="A file of torch, pickle or safetensors.", metavar="FILE")],
    preset: Annotated[str, typer.Option(help="The preset that shall start from it.", metavar="NAME")],
    out: Annotated[Path | None, typer.Option(help="The checkpoint; else PRESET.safetensors.", metavar="FILE")] = None,
    backbone_only: Annotated[bool, typer.Option("--backbone-only", help="Take nothing but the backbone.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the datasets, for presets whose classes only the data tell.", metavar="ROOT"),
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Turn public weights into a checkpoint of a preset.

    The first and the final predictions both start from the base's heads. Nothing that the file holds is executed.
    Every tensor that does not fit is listed.

    Example: pisr weights import model_final_23d03a.pkl --preset cityscapes-pdl-r50 --out start.safetensors
    """
    from pisr_core import presets
    from pisr_core.weights.importing import import_weights

    config = presets.load(preset, list(settings or []))
    path = out or Path(f"{config.name}.safetensors")
    report = import_weights(file, config, _categories(config, data), path, backbone_only)
    if as_json:
        print_json({"out": str(path), **asdict(report)})
    else:
        _show(report)
    say(f"next: pisr train --preset {preset} --weights {path}")


def _categories(config: Config, data: Path | None) -> tuple[Category, ...]:
    """The dataset's classes, from its files where their folder is given."""
    from pisr_core.data import build_dataset
    from pisr_core.data.categories import known_categories

    if data is None:
        return known_categories(config.data.dataset)
    return build_dataset(config.data, "train", data).categories


def _show(report: ImportReport) -> None:
    below = f" below {report.prefix}" if report.prefix else ""
    results.print(f"{report.source}{below}: {len(report.loaded)} tensors loaded", markup=False)
    groups = {
        "other shape": report.reinitialised,
        "not used": report.unused,
        "missing": report.missing,
    }
    elsewhere = Counter(re.sub(r"\..*", ".…", name) for name in report.elsewhere)
    if not any(groups.values()) and not elsewhere:
        return
    table = text_table("Tensors that do not fit", ("name", "", "in the file", "in the model"))
    for fate, group in groups.items():
        for unfit in group:
            table.add_row(unfit.name, fate, *_shapes(unfit))
    for name, count in elsewhere.items():
        table.add_row(name, "not read", f"{count} tensors", "")
    results.print(table)


def _shapes(unfit: Unfit) -> tuple[str, str]:
    from pisr_core.weights.importing import shape_text

    return shape_text(unfit.file_shape), shape_text(unfit.model_shape)
