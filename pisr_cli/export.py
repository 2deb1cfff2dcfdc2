"""`pisr export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.console import print_json, progress_bar, results, say, score_table
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import Categories, Checkpoint, Json, to_write
from pisr_cli.terminal.sizes import parse_size
from pisr_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pisr_core.exporting import ExportReport

FORMATS_BY_SUFFIX = {".onnx": "onnx", ".pt2": "torch"}

CHECK_IMAGES = 8
"""The most images of a folder that the check looks at."""


def export(
    out: Annotated[Path, to_write("The file: model.onnx, or model.pt2 for torch.export.", metavar="FILE")],
    checkpoint: Checkpoint = None,
    categories: Categories = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="onnx or torch; else by the file's name.", metavar="NAME")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of the images, in pixels; else the preset's training crop.", metavar="HxW")
    ] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic/--fixed", help="Leave height and width free.")] = True,
    merging: Annotated[
        bool, typer.Option("--merging/--no-merging", help="Give panoptic maps, else the predictions before merging.")
    ] = True,
    batch: Annotated[
        int,
        typer.Option(min=0, help="Images at once; 0 for any (Panoptic FPN, networks of transformers: 1).", metavar="N"),
    ] = 0,
    check_images: Annotated[
        Path | None, typer.Option(help="Check on images of this folder, not on painted scenes.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model for other runtimes: ONNX, or torch.export's archive.

    The file takes 8-bit RGB images and is written only if it answers as the model does, on noise and on images.
    ONNX needs: pip install '.[export]'

    Example: pisr export --checkpoint runs/first/best.safetensors --out model.onnx
    """
    chosen = _format(out, kind)
    wanted = None if size is None else parse_size(size)

    with quick_imports():
        from pisr_core.exporting import ExportRequest, default_size, export_model
    from pisr_core.inference.load import load_model
    from pisr_core.runtime.devices.device import choose_device

    path = fetched(checkpoint)
    model = load_model(path, choose_device("cpu"), categories)
    request = ExportRequest(chosen, wanted or default_size(model), batch, dynamic, merging)
    images = [] if check_images is None else _images(check_images)
    say(f"exporting {path}, which takes a minute or two")
    with progress_bar("checking") as progress:
        report = export_model(model, out, request, images, progress)
    if as_json:
        deviations = {d.output: {k: v for k, v in asdict(d).items() if k != "output"} for d in report.deviations}
        print_json(
            {"out": str(report.path), "megabytes": report.megabytes, "checked_sizes": report.sizes}
            | {"deviations": deviations, "metadata": report.metadata}
        )
    else:
        _show(report)


def _format(out: Path, kind: str | None) -> str:
    chosen = kind or FORMATS_BY_SUFFIX.get(out.suffix.lower())
    if chosen is None or chosen not in FORMATS_BY_SUFFIX.values():
        given = f"--format {kind}" if kind else f"--out {out}"
        raise ConfigError(f"{given}: choose onnx or torch with --format, or a file name that ends in .onnx or .pt2.")
    return chosen


def _images(folder: Path) -> list[Path]:
    from pisr_core.inference.predict import find_images

    found, failed = find_images([str(folder)], exclude=folder / "overlay")
    if not found:
        raise DataError("\n".join(failed))
    return found[:CHECK_IMAGES]


def _show(report: ExportReport) -> None:
    sizes = ", ".join(f"{height}×{width}" for height, width in report.sizes)
    table = score_table(
        f"Largest deviation from the model, checked at {sizes}", ("output", "absolute", "relative", "allowed")
    )
    for found in report.deviations:
        table.add_row(found.output, f"{found.largest:.1e}", f"{found.relative:.1e}", f"{found.tolerance:.0e}")
    results.print(table)
    results.print(f"{report.path}: {report.megabytes:.1f} MB", soft_wrap=True)
