"""`pisr data convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pisr_cli.data.prepare import show_reports
from pisr_cli.terminal.console import progress_bar

HELP = "Turn other annotations into COCO panoptic format."

app = typer.Typer(help=HELP, no_args_is_help=True)

Out = Annotated[
    Path,
    typer.Option(help="The panoptic JSON; its PNGs go to the folder of that name beside it.", metavar="JSON"),
]
Void = Annotated[
    list[int],
    typer.Option(
        help="Category id, or number in a map, that means no class. May be given several times.", metavar="ID"
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core.", metavar="N")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")]


@app.callback()
def convert() -> None:
    """Turn other annotations into COCO panoptic format.

    What is done is kept: after an interruption, run the same command again.
    """


@app.command("instances", no_args_is_help=True)
def instances(
    instances: Annotated[Path, typer.Argument(help="Instances in COCO's format.", metavar="JSON")],
    out: Out,
    stuff: Annotated[
        Path | None,
        typer.Option(help="Stuff in the same format, as COCO's stuff annotations.", metavar="JSON"),
    ] = None,
    stuff_maps: Annotated[
        Path | None,
        typer.Option(help="Or a folder of one-channel PNGs, named as the images.", metavar="DIR"),
    ] = None,
    stuff_categories: Annotated[
        Path | None,
        typer.Option(help="The classes of the maps: CSV with id, name and isthing, or JSON.", metavar="FILE"),
    ] = None,
    offset: Annotated[
        int, typer.Option(help="Added to the maps' numbers; 1 for COCO's stuffthingmaps.", metavar="N")
    ] = 0,
    overlap: Annotated[
        str, typer.Option(help="Of overlapping masks: smaller-on-top or later-on-top.", metavar="RULE")
    ] = "smaller-on-top",
    void: Void = [],  # noqa: B006 (typer copies it)
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Turn COCO instances, with or without stuff, into COCO panoptic format.

    Instances lie on crowds, and crowds on stuff.

    Example: pisr data convert instances things.json --stuff stuff.json --out my/annotations/panoptic_train.json
    """
    from pisr_core.data.prepare.convert import StuffSource, convert_instances

    source = StuffSource(stuff, stuff_maps, stuff_categories, offset)
    with progress_bar("converting") as progress:
        report = convert_instances(instances, out, source, overlap, void, workers, progress)
    show_reports({out.stem: report}, as_json)


@app.command("masks", no_args_is_help=True)
def masks(
    images: Annotated[Path, typer.Option(help="Folder of the images.", metavar="DIR")],
    semantic: Annotated[Path, typer.Option(help="PNGs with the category id of each pixel.", metavar="DIR")],
    instances: Annotated[Path, typer.Option(help="PNGs with instance numbers, 0 for none.", metavar="DIR")],
    categories: Annotated[Path, typer.Option(help="CSV with id, name and isthing, or JSON.", metavar="FILE")],
    out: Out,
    void: Void = [0, 255],  # noqa: B006
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Turn a semantic and an instance PNG for each image into COCO panoptic format.

    The semantic map decides the class. Pixels of a thing class without an instance number become one crowd.

    Example: pisr data convert masks --images my/train --semantic classes/train --instances numbers/train
    --categories classes.csv --out my/annotations/panoptic_train.json
    """
    from pisr_core.data.prepare.convert import convert_masks

    with progress_bar("converting") as progress:
        report = convert_masks(images, semantic, instances, categories, out, void, workers, progress)
    show_reports({out.stem: report}, as_json)
