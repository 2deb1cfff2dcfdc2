"""`pisr data prepare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.console import print_json, progress_bar, results, say, score_table
from pisr_cli.terminal.options import Json, Workers
from pisr_cli.terminal.sizes import parse_size
from pisr_core.config import ScenesConfig, check_choice
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.data.prepare.split import SplitReport

DEFAULTS = ScenesConfig()
NAMES = ("cityscapes", "ade20k", "coco", "nuclei", "scenes")
SCENES = "Only for scenes"


def prepare(
    name: Annotated[str, typer.Argument(help="cityscapes, ade20k, coco, nuclei, or scenes, which are drawn here.")],
    root: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the datasets, or that of this one; else $PISR_DATASETS, else ./datasets.",
            metavar="ROOT",
            show_default=False,
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the archive first; for nuclei, which anyone may have.")
    ] = False,
    workers: Workers = 0,
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.", metavar="DIR", rich_help_panel=SCENES)] = None,
    train: Annotated[
        int, typer.Option(min=1, help="Number of training images.", metavar="N", rich_help_panel=SCENES)
    ] = 1000,
    val: Annotated[
        int, typer.Option(min=1, help="Number of validation images.", metavar="N", rich_help_panel=SCENES)
    ] = 200,
    size: Annotated[
        str, typer.Option(help="Height and width in pixels.", metavar="HxW", rich_help_panel=SCENES)
    ] = "128x128",
    film: Annotated[
        int,
        typer.Option(
            min=0,
            help="Films of so many frames, in which the things move; 0 for images.",
            metavar="N",
            rich_help_panel=SCENES,
        ),
    ] = 0,
    difficulty: Annotated[
        str, typer.Option(help="How hard they are.", metavar="NAME", rich_help_panel=SCENES)
    ] = DEFAULTS.difficulty,
) -> None:
    """Make a download readable, or write the built-in scenes as files.

    The archives may still be packed. What is done is kept: after an interruption, run the same command again.

    Example: pisr data prepare cityscapes datasets

    Example: pisr data prepare nuclei datasets --download

    Example: pisr data prepare scenes --out datasets/scenes --train 2000 --size 128x128
    """
    check_choice("dataset", name, NAMES)
    if name == "scenes":
        if download:
            raise ConfigError("--download: the scenes are drawn here; nothing is fetched for them.")
        _prepare_scenes(out, ScenesConfig(difficulty, parse_size(size), train, val), film, as_json)
    else:
        _prepare_download(name, root, out, workers, download, as_json)


def _prepare_scenes(out: Path | None, config: ScenesConfig, frames: int, as_json: bool) -> None:
    if out is None:
        raise ConfigError("--out is missing: name the folder that the scenes are written to.")

    from pisr_core.data.prepare.scenes import prepare_scenes

    with progress_bar("drawing") as progress:
        prepare_scenes(out, config, progress, frames)
    what = f"films of {frames} frames" if frames else "scenes"
    counts = f"{config.train_images} training and {config.val_images} validation {what} in {out}"
    say(counts)
    if as_json:
        print_json({"out": str(out), "train": config.train_images, "val": config.val_images})


def _prepare_download(
    name: str, root: Path | None, out: Path | None, workers: int, download: bool, as_json: bool
) -> None:
    if out is not None:
        raise ConfigError(f"--out is for scenes; {name} stays in its own folder: pisr data prepare {name} ROOT")

    from pisr_core.data import dataset_root
    from pisr_core.data.prepare.datasets import prepare_dataset

    show_reports(prepare_dataset(name, dataset_root(root), workers, progress_bar, download), as_json)


def show_reports(reports: dict[str, SplitReport], as_json: bool) -> None:
    """What was written, by split, as a table or as JSON."""
    if as_json:
        print_json({split: asdict(r) | {"json_path": str(r.json_path)} for split, r in reports.items()})
        return
    table = score_table("Panoptic annotations", ("split", "images", "made now", "segments"))
    for split, report in reports.items():
        table.add_row(split, str(report.images), str(report.made), str(report.segments))
    results.print(table)
    for report in reports.values():
        say(str(report.json_path))
