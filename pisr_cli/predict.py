"""`pisr predict`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pisr_cli.console import RUNS, messages, print_json, progress_bar
from pisr_core.errors import DataError


def predict(
    paths: Annotated[
        list[str], typer.Argument(help="Images, videos, folders or patterns such as 'photos/*.jpg'.", metavar="PATH…")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", metavar="DIR")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The model; else that of the newest run in ./runs.", metavar="FILE")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; else the fastest here.")] = None,
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
    precision: Annotated[
        str, typer.Option(help="no (float32), fp16 (for GPUs) or bf16: faster, nearly the same maps.")
    ] = "no",
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: worth its minutes for many images.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Find things and stuff in images and films.

    Writes DIR/panoptic.json with DIR/panoptic/*.png (COCO panoptic format, with scores) and pictures to
    DIR/overlay. Of a film each frame has its map, clip_000001.png and so on, and DIR/overlay/clip.mp4 shows them.
    Files that are no images are skipped and named at the end.

    Example: pisr predict photos clip.mp4 --out predictions
    """
    from pisr_core.inference.fast_model import FastModel, check_precision
    from pisr_core.inference.load import load_model, newest_checkpoint
    from pisr_core.inference.predict import predict as predict_images
    from pisr_core.runtime.device import choose_device

    chosen = choose_device(device)
    check_precision(precision)
    path = checkpoint or newest_checkpoint(RUNS)
    messages.print(f"model: {path} on {chosen}", markup=False, soft_wrap=True)
    model = FastModel(load_model(path, chosen), precision, compile_network)
    with progress_bar("predicting") as progress:
        report = predict_images(model, paths, out, chosen, progress, batch_size, max_side)
    if as_json:
        images = [{k: v if k == "segments" else str(v) for k, v in asdict(i).items()} for i in report.written]
        print_json({"checkpoint": str(path), "images": images, "failed": list(report.failed)})
    messages.print(f"{len(report.written)} images, pictures in {out / 'overlay'}", markup=False, soft_wrap=True)
    if report.failed:
        raise DataError(f"{len(report.failed)} inputs were skipped:\n  " + "\n  ".join(report.failed))
