"""`pisr predict`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.console import print_json, progress_bar, say
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import Json, NetworkOptions, grouped, to_write
from pisr_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pisr_core.inference.predict import PredictionReport
    from pisr_core.inference.tiles import Tiling


@grouped()
def predict(
    paths: Annotated[
        list[str], typer.Argument(help="Images, videos, folders or patterns such as 'photos/*.jpg'.", metavar="PATH…")
    ],
    out: Annotated[Path, to_write("Folder for the results.")],
    network: NetworkOptions,
    batch_size: Annotated[
        int, typer.Option(help="Most neighbouring images of one size that the network sees at once.", min=1)
    ] = 1,
    max_side: Annotated[
        int | None,
        typer.Option(
            help="Longest side that the network sees, pixels; else the preset's, and 16 megapixels at most.",
            min=32,
            metavar="N",
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(help="Cut images (no films) that are larger into tiles of this side, pixels.", min=1, metavar="N"),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(help="Of neighbouring tiles, pixels; else an eighth of a tile.", min=0, metavar="N"),
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Write for an annotation tool too: labelme, cvat, label-studio, coco-instances or yolo; or the tracks "
            "of films: cityscapes-vps.",
            metavar="NAME",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find things and stuff in images and films.

    Writes DIR/panoptic.json with DIR/panoptic/*.png (COCO panoptic format, with scores) and pictures to
    DIR/overlay. Of a film each frame has its map, clip_000001.png and so on, and DIR/overlay/clip.mp4 shows them.
    Files that are no images are skipped and named at the end.

    Example: pisr predict photos clip.mp4 --out predictions

    Example: pisr predict photos --out predictions --format cvat

    Example: pisr predict satellite.tif --out predictions --tile 1024 --overlap 128

    Example: pisr predict photos --out predictions --set merge.center_threshold=0.2 --multi-scale 0.75,1,1.5 --flip

    Example: pisr predict photo.jpg --checkpoint eomt-s-coco --out predictions
    """
    if tool is not None:
        _check_format(tool)
    with quick_imports():
        from pisr_core.inference.predict import predict as predict_images

    tiling = _tiling(tile, overlap)
    path, model, device = network.load()
    say(f"model: {path} on {device}")
    with progress_bar("predicting") as progress:
        report = predict_images(model, paths, out, device, progress, batch_size, max_side, tiling)
    if as_json:
        images = [{k: v if k == "segments" else str(v) for k, v in asdict(i).items()} for i in report.written]
        print_json({"checkpoint": str(path), "images": images, "failed": list(report.failed)})
    say(f"{len(report.written)} images, pictures in {out / 'overlay'}")
    if tool is not None:
        _write_for_tool(report, out, tool)
    if report.failed:
        raise DataError(f"{len(report.failed)} inputs were skipped:\n  " + "\n  ".join(report.failed))


def _check_format(tool: str) -> None:
    from pisr_core.data.annotation_tools.write import check_format

    check_format(tool)


def _tiling(tile: int | None, overlap: int | None) -> Tiling | None:
    from pisr_core.inference.tiles import DEFAULT_SHARE, Tiling

    if tile is None:
        if overlap is not None:
            raise ConfigError("--overlap is that of tiles: give --tile too.")
        return None
    return Tiling(tile, tile // DEFAULT_SHARE if overlap is None else overlap)


def _write_for_tool(report: PredictionReport, out: Path, tool: str) -> None:
    from pisr_core.data.annotation_tools.write import write_for_tool

    images = {f"{image.panoptic.stem}{image.image.suffix}": image.image for image in report.written}
    written = write_for_tool(out / "panoptic.json", out, tool, images)
    left_out = f"; {written.left_out} of stuff left out, which the format does not have" if written.left_out else ""
    say(f"{written.segments} segments for {tool} in {out}{left_out}")
