"""`pisr eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.console import RUNS, messages, print_json, progress_bar, results, score, score_table
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.metrics.result import EvaluationResult


def evaluate(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Score this model; else that of the newest run in ./runs.", metavar="FILE", rich_help_panel="A model"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the datasets; else $PISR_DATASETS, else ./datasets.",
            metavar="ROOT",
            rich_help_panel="A model",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Another dataset with the same classes, such as custom.",
            metavar="NAME",
            rich_help_panel="A model",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the dataset.", rich_help_panel="A model")] = "val",
    limit: Annotated[
        int, typer.Option(min=0, help="Score the first N images only; 0 for all.", rich_help_panel="A model")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images at once; changes the speed only.", rich_help_panel="A model")
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1, mps; else the fastest here.", rich_help_panel="A model"),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score this JSON in COCO panoptic format.",
            metavar="JSON",
            rich_help_panel="Predictions on disk",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="The ground truth.", metavar="JSON", rich_help_panel="Predictions on disk"),
    ] = None,
    predictions_dir: Annotated[
        Path | None,
        typer.Option(
            help="PNGs of the predictions; else the JSON's name without .json.",
            metavar="DIR",
            rich_help_panel="Predictions on disk",
        ),
    ] = None,
    annotations_dir: Annotated[
        Path | None,
        typer.Option(
            help="PNGs of the ground truth; else the JSON's name without .json.",
            metavar="DIR",
            rich_help_panel="Predictions on disk",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
) -> None:
    """Score a model, or predictions of any model: PQ and mIoU, 0–100.

    Example: pisr eval --checkpoint runs/first/best.safetensors --data datasets

    Example: pisr eval --predictions predicted.json --annotations panoptic_val2017.json
    """
    if predictions is None and annotations is None:
        result = _evaluate_checkpoint(checkpoint, data, dataset, split, limit, batch_size, device)
    elif checkpoint is None and predictions is not None and annotations is not None:
        result = _evaluate_files(predictions, annotations, predictions_dir, annotations_dir)
    else:
        raise ConfigError("what to score? Give either --checkpoint, or --predictions with --annotations.")
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)


def _evaluate_checkpoint(
    checkpoint: Path | None,
    data: Path | None,
    dataset_name: str | None,
    split: str,
    limit: int,
    batch_size: int,
    device_name: str | None,
) -> EvaluationResult:
    from dataclasses import replace

    from pisr_core.data import build_dataset
    from pisr_core.engine.device import choose_device
    from pisr_core.engine.evaluation import evaluate as evaluate_model
    from pisr_core.engine.inference import load_model, newest_checkpoint

    device = choose_device(device_name)
    path = checkpoint or newest_checkpoint(RUNS)
    model = load_model(path, device)
    config = model.config.data
    config = replace(config, dataset=dataset_name or config.dataset)
    dataset = build_dataset(config, split, data)
    messages.print(f"{path} on {config.dataset} {split}, {device}", markup=False, soft_wrap=True)
    with progress_bar("evaluating") as progress:
        return evaluate_model(model, dataset, config, device, batch_size, config.workers, limit, progress)


def _evaluate_files(
    predictions: Path, annotations: Path, predictions_dir: Path | None, annotations_dir: Path | None
) -> EvaluationResult:
    from pisr_core.metrics.files import evaluate_files

    with progress_bar("comparing") as progress:
        return evaluate_files(predictions, annotations, predictions_dir, annotations_dir, progress)


def _show(result: EvaluationResult) -> None:
    groups = score_table("Panoptic quality", ("", "PQ", "SQ", "RQ", "classes"))
    for name in ("all", "things", "stuff"):
        group = getattr(result.panoptic, name)
        groups.add_row(name, score(group.pq), score(group.sq), score(group.rq), str(group.n))
    classes = score_table("Classes", ("class", "", "PQ", "SQ", "RQ", "IoU"))
    rows = zip(result.categories, result.panoptic.per_class, result.semantic.per_class, strict=True)
    for category, quality, iou in rows:
        scores = (quality.pq, quality.sq, quality.rq) if quality.occurs else (None, None, None)
        kind = "thing" if category.isthing else "stuff"
        classes.add_row(category.name, kind, *map(score, scores), score(iou))
    results.print(classes)
    results.print(groups)
    semantic = result.semantic
    results.print(f"mIoU {score(semantic.miou)}, pixel accuracy {score(semantic.pixel_accuracy)}")
    results.print(f"{result.images} images in {result.seconds:.1f} s")
