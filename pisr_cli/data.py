"""`pisr data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pisr_cli.console import messages, progress_bar
from pisr_core.config import ScenesConfig, check_choice
from pisr_core.errors import ConfigError

app = typer.Typer(help="Make datasets ready.", no_args_is_help=True)

DEFAULTS = ScenesConfig()


@app.callback()
def data() -> None:
    """Make datasets ready."""


@app.command("prepare", no_args_is_help=True)
def prepare(
    name: Annotated[str, typer.Argument(help="The dataset: scenes, which is drawn, not downloaded.")],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.", metavar="DIR")],
    train: Annotated[int, typer.Option(min=1, help="Number of training images.", metavar="N")] = 1000,
    val: Annotated[int, typer.Option(min=1, help="Number of validation images.", metavar="N")] = 200,
    size: Annotated[str, typer.Option(help="Height and width in pixels.", metavar="HxW")] = "128x128",
    difficulty: Annotated[str, typer.Option(help="How hard the scenes are.", metavar="NAME")] = DEFAULTS.difficulty,
) -> None:
    """Write a dataset in COCO panoptic format.

    The result is read by --data DIR with --set data.dataset=custom, and by other tools.

    Example: pisr data prepare scenes --out datasets/scenes --train 2000 --size 128x128
    """
    check_choice("dataset", name, ("scenes",))

    from pisr_core.engine.prepare_scenes import prepare_scenes

    config = ScenesConfig(difficulty, _size(size), train, val)
    with progress_bar("drawing") as progress:
        prepare_scenes(out, config, progress)
    messages.print(f"{train} training and {val} validation scenes in {out}", markup=False, soft_wrap=True)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ConfigError(f"--size {text}: write height and width in pixels, for example 128x128.")
    return int(height), int(width)
