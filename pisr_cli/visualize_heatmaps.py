"""`pisr visualize-heatmaps`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.console import print_json, progress_bar, say
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import MODEL_NAMES, Categories, Device, Json, grouped, to_write
from pisr_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from pisr_core.figures.annotations import Annotations
    from pisr_core.figures.picture_pages import PictureReport
    from pisr_core.models import PanopticModel


@dataclass(frozen=True)
class TruthOptions:
    """What should have been found."""

    annotations: Annotated[
        Path | None,
        typer.Option(help="Ground truth in COCO panoptic format, found by the images' file names.", metavar="JSON"),
    ] = None
    annotations_dir: Annotated[
        Path | None, typer.Option(help="Folder of its PNGs; else the JSON's path without .json.", metavar="DIR")
    ] = None

    def read(self) -> Annotations | None:
        """The annotations; `None` where none are named."""
        from pisr_core.figures.annotations import Annotations

        if self.annotations_dir and not self.annotations:
            raise ConfigError("--annotations-dir needs --annotations.")
        return Annotations(self.annotations, self.annotations_dir) if self.annotations else None


@grouped()
def visualize_heatmaps(
    paths: Annotated[
        list[str], typer.Argument(help="Images, folders or patterns such as 'photos/*.jpg'.", metavar="PATH…")
    ],
    out: Annotated[Path, to_write("Folder for the pictures and index.html.")],
    *,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help=f"The model: {MODEL_NAMES}; else that of the newest run in ./runs. Give a second one to see both "
            "models' heatmaps and centres side by side (Fig. 5).",
            metavar="MODEL",
        ),
    ] = None,
    categories: Categories = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Two models: draw their results only, with the regions that differ boxed (Figs. 1, 6, 7).",
            metavar="A B",
        ),
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="A class to look at; repeat for more. Else the three that cover most of each image, things first.",
            metavar="NAME",
        ),
    ] = None,
    truth: TruthOptions,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """See what a model sees: class heatmaps before and after PISR, centres, instance maps, weights.

    Writes PNGs to DIR, by model and kind, and DIR/index.html with all of them. Files that are no images are skipped
    and named at the end.

    Example: pisr visualize-heatmaps photo.jpg --checkpoint runs/first/best.safetensors --class car --out heatmaps
    """
    with quick_imports():
        from pisr_core.figures.heatmaps import compare_models
        from pisr_core.figures.heatmaps import visualize_heatmaps as draw_heatmaps
    from pisr_core.runtime.devices.device import choose_device

    if compare and (checkpoint or class_):
        raise ConfigError("--compare draws results only: leave --checkpoint and --class out, or --compare.")
    chosen = choose_device(device)
    models = _load(compare or checkpoint or [None], categories, chosen)
    annotations = truth.read()
    with progress_bar("drawing") as progress:
        if compare:
            report = compare_models(models, paths, out, chosen, annotations, progress)
        else:
            report = draw_heatmaps(models, paths, out, chosen, class_ or (), annotations, progress)
    _show(report, as_json)


def _show(report: PictureReport, as_json: bool) -> None:
    if as_json:
        paths_of = {"images": list(map(str, report.images)), "pictures": list(map(str, report.pictures))}
        print_json({"page": str(report.page), **paths_of, "failed": report.failed})
    say(f"{len(report.pictures)} pictures, all in {report.page}")
    if report.failed:
        raise DataError(f"{len(report.failed)} inputs were skipped:\n  " + "\n  ".join(report.failed))


def _load(names: Sequence[Path | None], categories: Path | None, device: torch.device) -> dict[str, PanopticModel]:
    """The models by their presets' names, with a number where these are equal."""
    from pisr_core.inference.load import load_model

    models: dict[str, PanopticModel] = {}
    for name in names:
        path = fetched(name)
        model = load_model(path, device, categories)
        label, number = model.config.name, 1
        while label in models:
            number += 1
            label = f"{model.config.name}-{number}"
        say(f"{label}: {path} on {device}")
        models[label] = model
    return models
