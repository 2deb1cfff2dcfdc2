"""`pisr data convert`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pisr_cli.data.prepare import show_reports
from pisr_cli.terminal.console import print_json, progress_bar, say

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


@app.command("annotations", no_args_is_help=True)
def of_tool(
    export: Annotated[Path, typer.Argument(help="What the annotation tool exported.", metavar="FILE|DIR")],
    images: Annotated[Path, typer.Option(help="Folder of the images.", metavar="DIR")],
    out: Out,
    things: Annotated[
        list[str] | None, typer.Option(help="Classes whose instances are counted.", metavar="NAME,NAME")
    ] = None,
    stuff: Annotated[list[str] | None, typer.Option(help="Classes without instances.", metavar="NAME,NAME")] = None,
    void: Annotated[list[str] | None, typer.Option(help="Classes that become void.", metavar="NAME,NAME")] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            help="Of overlapping shapes: smaller-on-top, or later-on-top, which is the default of Cityscapes.",
            metavar="RULE",
        ),
    ] = None,
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Turn exports of LabelMe, CVAT, Label Studio, Supervisely, Datumaro or polygons as Cityscapes has them.

    Which of them, or COCO instances as these tools write them, is seen from the files. Without --things and --stuff
    the classes are listed.

    Example: pisr data convert annotations labels --images my/train --things car,person --stuff road,sky
    --out my/annotations/panoptic_train.json
    """
    from pisr_core.data.annotation_tools.convert import ClassNames, convert_export

    names = ClassNames(*map(_names, (things, stuff, void)))
    with progress_bar("converting") as progress:
        report = convert_export(export, images, out, names, overlap, workers, progress)
    if as_json:
        split = asdict(report.split) | {"json_path": str(report.split.json_path)}
        print_json({out.stem: split | {"tool": report.tool, "left_out": report.left_out, "hidden": report.hidden}})
    else:
        show_reports({out.stem: report.split}, as_json)
    say(f"annotated with: {report.tool}")
    if report.left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in report.left_out.items())
        say(f"left out, as they are no regions: {counts}")
    if report.hidden:
        say(f"{report.hidden} segments have no pixel: others cover them, or they are too small")


def _names(texts: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts or () for name in text.split(",") if name.strip())
