"""`pisr weights`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.checkpoints import fetch
from pisr_cli.terminal.console import print_json, results, say, text_table
from pisr_cli.terminal.options import MODEL_NAMES, Categories, Json, Settings
from pisr_cli.weights.share import export_folder, push
from pisr_core.config import Config, check_choice
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.structures import Category
    from pisr_core.weights.fitting import FitReport, Unfit

app = typer.Typer(help="Public weights: use them, start from them, share yours.", no_args_is_help=True)
app.command("export", no_args_is_help=True)(export_folder)
app.command("push", no_args_is_help=True)(push)


@app.callback()
def weights() -> None:
    """Public weights: use them, start from them, share yours."""


WITH_PRESETS = 120
"""Columns of a terminal that has room for the presets in the list of weights."""


@app.command("list")
def list_weights(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False) -> None:
    """List the public weights that --checkpoint and --weights take by name; `pisr weights show` tells all of one.

    Example: pisr weights list
    """
    from pisr_core.weights.public.sources import SOURCES

    if as_json:
        print_json([{"name": name, **asdict(source)} for name, source in SOURCES.items()])
        return
    wide = results.width >= WITH_PRESETS
    table = text_table("Public weights", ("name", "what", "preset") if wide else ("name", "what"))
    for name, source in SOURCES.items():
        table.add_row(name, source.description, *([source.preset or "–"] if wide else []))
    results.print(table)


@app.command("show", no_args_is_help=True)
def show(
    name: Annotated[str, typer.Argument(help="A name that `pisr weights list` shows.")],
    as_json: Json = False,
) -> None:
    """Show all that is known of public weights: what they are, for which preset, licence, address, page and digest.

    Example: pisr weights show pdl-r50-cityscapes
    """
    from pisr_core.weights.public.sources import SOURCES

    check_choice("NAME", name, tuple(SOURCES))
    facts = {"name": name, **asdict(SOURCES[name])}
    if as_json:
        print_json(facts)
        return
    for fact, value in facts.items():
        if value:
            results.print(f"{fact}: {', '.join(value) if isinstance(value, tuple) else value}", soft_wrap=True)


@app.command("download", no_args_is_help=True)
def download(
    name: Annotated[str, typer.Argument(help="A name that `pisr weights list` shows, or USER/NAME on the hub.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a copy of the files; else they stay in the cache.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch public weights now that --checkpoint and --weights take by name later, without a network too.

    Their bytes are checked. A call that was interrupted continues.

    Example: pisr weights download pdl-r50-cityscapes
    """
    from pisr_core.weights.find import copy_weights, find_weights

    fetch(Path(name))
    found = find_weights(name)
    path = found.path if out is None else copy_weights(found, out)
    source = found.source
    if as_json:
        print_json({"name": name, "path": str(path), **({} if source is None else asdict(source))})
    say(f"{name}: {path}")
    if source is None or source.use == "predict":
        say(f"next: pisr predict photo.jpg --checkpoint {name} --out predictions")
    if source is not None and source.preset:
        say(f"next: pisr train --preset {source.preset} --weights {name}")


@app.command("import", no_args_is_help=True)
def import_file(
    file: Annotated[Path, typer.Argument(help=f"{MODEL_NAMES[0].upper()}{MODEL_NAMES[1:]}.", metavar="MODEL")],
    preset: Annotated[
        str | None,
        typer.Option(help="The preset that shall start from it; whole models need none.", metavar="NAME"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The checkpoint; else NAME.safetensors.", metavar="FILE")] = None,
    backbone_only: Annotated[bool, typer.Option("--backbone-only", help="Take nothing but the backbone.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the datasets, for presets whose classes only the data tell.", metavar="ROOT"),
    ] = None,
    settings: Settings = None,
    categories: Categories = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Of a file that holds only the difference to other weights: these, a folder or USER/NAME.",
            metavar="MODEL",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn public weights into a checkpoint.

    Networks of `transformers` and EoMT's say all of themselves; other files need the preset that shall start from
    them: the first and the final predictions then both start from the base's heads, and every tensor that does not
    fit is listed. Nothing that a file holds is executed.

    Example: pisr weights import model_final_23d03a.pkl --preset cityscapes-pdl-r50 --out start.safetensors

    Example: pisr weights import pytorch_model.bin --categories classes.csv --out eomt.safetensors
    """
    from pisr_core import presets
    from pisr_core.weights.find import find_weights
    from pisr_core.weights.public.importing import import_weights

    if preset is None:
        _import_whole(file, out, categories, base, as_json)
        return
    config = presets.load(preset, list(settings or []))
    fetch(file)
    path = out or Path(f"{config.name}.safetensors")
    found = find_weights(file).path
    if found.is_dir():
        raise ConfigError(
            f"--preset {preset}: {file} says all of itself; leave --preset out. To start the preset from it: "
            f"pisr train --preset {preset} --weights {file}"
        )
    report = import_weights(found, config, _categories(config, data), path, backbone_only)
    if as_json:
        print_json({"out": str(path), **asdict(report)})
    else:
        _show(report)
    say(f"next: pisr train --preset {preset} --weights {path}")


def _import_whole(name: Path, out: Path | None, categories: Path | None, base: Path | None, as_json: bool) -> None:
    """Writes the checkpoint of a model that needs no preset."""
    from pisr_core.weights.files.checkpoint import save_checkpoint
    from pisr_core.weights.find import load_checkpoint

    for part in filter(None, (name, base)):
        fetch(part)
    model = load_checkpoint(name, categories, base=base)
    path = out or Path(f"{model.config.name}.safetensors")
    save_checkpoint(path, model.state, model.config, model.categories, model.info)
    if as_json:
        print_json({"out": str(path), "classes": len(model.categories), "tensors": len(model.state), **model.info})
    say(f"{path}: {model.config.architecture}, {len(model.categories)} classes, {len(model.state)} tensors")
    say(f"next: pisr predict photo.jpg --checkpoint {path} --out predictions")


def _categories(config: Config, data: Path | None) -> tuple[Category, ...]:
    """The dataset's classes, from its files where their folder is given."""
    from pisr_core.data import build_dataset
    from pisr_core.data.categories import known_categories

    if data is None:
        return known_categories(config.data.dataset)
    return build_dataset(config.data, "train", data).categories


def _show(report: FitReport) -> None:
    from pisr_core.weights.fitting import class_lines

    below = f" below {report.prefix}" if report.prefix else ""
    results.print(f"{report.source}{below}: {len(report.loaded)} tensors loaded")
    for line in class_lines(report.class_match):
        results.print(line)
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
    from pisr_core.weights.fitting import shape_text

    return shape_text(unfit.file_shape), shape_text(unfit.model_shape)
