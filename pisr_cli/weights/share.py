"""`pisr weights export` and `pisr weights push`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.console import print_json, say
from pisr_cli.terminal.options import MODEL_NAMES, Categories, Json
from pisr_core.errors import DataError

if TYPE_CHECKING:
    from pisr_core.weights.files.checkpoint import Checkpoint

PICTURE = "example.jpg"
SCENES = "scenes"
"""The dataset whose images can be made anew, for the picture."""


def export_folder(
    checkpoint: Annotated[Path, typer.Argument(help=f"The model: {MODEL_NAMES}.", metavar="MODEL")],
    out: Annotated[Path, typer.Option(help="Folder for the files.", metavar="FOLDER")],
    title: Annotated[str | None, typer.Option(help="The model's name; else FOLDER's.", metavar="TEXT")] = None,
    image: Annotated[
        Path | None, typer.Option(help="Show on the card what the model sees in this image.", metavar="IMAGE")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="What `pisr eval --json` printed; else the scores of the run that the checkpoint lies in.",
            metavar="JSON",
        ),
    ] = None,
    categories: Categories = None,
    as_json: Json = False,
) -> None:
    """Write a model as a folder in the layout of the Hugging Face hub, with a model card.

    The card holds the scores, the preset, the classes and a picture; the licence is left to you. Every command reads
    the folder with --checkpoint FOLDER.

    Example: pisr weights export runs/first/best.safetensors --out my-model --image photo.jpg
    """
    from pisr_core.weights.find import load_checkpoint
    from pisr_core.weights.hub.model_card import model_card
    from pisr_core.weights.hub.sharing import write_folder

    name = fetched(checkpoint)
    trained = load_checkpoint(name, categories)
    found = _read_scores(scores) if scores else _scores_of_run(name, trained)
    has_picture = _draw(trained, name, image, out / PICTURE, categories)
    card = model_card(trained, title or out.resolve().name, found, PICTURE if has_picture else None)
    files = [*write_folder(trained, out, card), *([out / PICTURE] if has_picture else [])]
    if as_json:
        print_json({"out": str(out), "files": [str(file) for file in files], "scores": found})
    if not found:
        say("the card has no scores: add those of `pisr eval --json` with --scores JSON")
    if not has_picture:
        say("the card has no picture: add one with --image IMAGE")
    say(f"next: choose a licence in {out / 'README.md'}, then pisr weights push {out} USER/NAME")


def push(
    folder: Annotated[Path, typer.Argument(help="What `pisr weights export` wrote.", metavar="FOLDER")],
    name: Annotated[str, typer.Argument(help="What the model shall be called on the hub.", metavar="USER/NAME")],
    private: Annotated[bool, typer.Option("--private", help="A new model is seen by you only.")] = False,
    as_json: Json = False,
) -> None:
    """Upload a folder to the Hugging Face hub. Log in first: `hf auth login`, or HF_TOKEN.

    Every command then reads it with --checkpoint USER/NAME.

    Example: pisr weights push my-model me/my-model
    """
    from pisr_core.weights.hub.sharing import upload_folder

    page = upload_folder(folder, name, private)
    if as_json:
        print_json({"name": name, "page": page})
    say(f"{page}\nnext: pisr predict photo.jpg --checkpoint {name} --out predictions")


def _read_scores(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"panoptic": content["panoptic"], "semantic": content.get("semantic", {})}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"--scores {path}: is not what `pisr eval --json` prints ({error}).") from error


def _scores_of_run(name: Path, trained: Checkpoint) -> dict[str, Any]:
    """Those of the evaluation that a checkpoint's weights had in its run; empty where there is none."""
    from pisr_core.training.state import RunFolder

    wanted = {trained.info.get("evaluated_step"), trained.info.get("step")}
    metrics = RunFolder(name.parent).metrics
    if not metrics.is_file():
        return {}
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines() if '"evaluation"' in line]
    found = [line["evaluation"] for line in lines if line["step"] in wanted]
    return found[-1] if found else {}


def _draw(trained: Checkpoint, name: Path, image: Path | None, out: Path, categories: Path | None) -> bool:
    """Draws what the model sees in an image, or in a scene where it is a model of scenes."""
    from PIL import Image

    from pisr_core import load_model
    from pisr_core.data import build_dataset
    from pisr_core.runtime.atomic import written_whole

    config = trained.config.data
    if image is None and config.dataset != SCENES:
        return False
    model = load_model(name, categories=categories)
    seen = image or Image.fromarray(build_dataset(config, "val", None)[0].image.permute(1, 2, 0).numpy())
    with written_whole(out) as part:
        model.predict(seen).overlay().save(part, format="JPEG", quality=92)
    return True
