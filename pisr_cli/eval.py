"""`pisr eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pisr_cli.console import progress_bar
from pisr_cli.eval_model import evaluate_model, load_subject
from pisr_cli.eval_results import Outcome, deliver
from pisr_core.errors import ConfigError

MODEL, FILES, RESULTS = "A model", "Predictions on disk", "Results"


def evaluate(
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Score this model; else that of the newest run in ./runs.", metavar="FILE", rich_help_panel=MODEL
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the datasets; else $PISR_DATASETS, else ./datasets.", metavar="ROOT", rich_help_panel=MODEL
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Another dataset with the same classes, such as custom.", metavar="NAME", rich_help_panel=MODEL
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the dataset.", rich_help_panel=MODEL)] = "val",
    limit: Annotated[
        int, typer.Option(min=0, help="Score the first N images only; 0 for all.", rich_help_panel=MODEL)
    ] = 0,
    multi_scale: Annotated[
        str | None,
        typer.Option(
            help="Merge predictions at these shares of the evaluation size, such as 0.5,1,1.5.",
            metavar="SCALES",
            rich_help_panel=MODEL,
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Merge with predictions of the mirrored image.", rich_help_panel=MODEL)
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images at once; changes the speed only.", rich_help_panel=MODEL)
    ] = 1,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; else the fastest here.", rich_help_panel=MODEL)
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="no (float32), fp16 (for GPUs) or bf16: faster, nearly the same scores.", rich_help_panel=MODEL
        ),
    ] = "no",
    compile_network: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network first: worth its minutes for many images of few sizes.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score this JSON in COCO panoptic format.", metavar="JSON", rich_help_panel=FILES),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="The ground truth.", metavar="JSON", rich_help_panel=FILES)
    ] = None,
    predictions_dir: Annotated[
        Path | None,
        typer.Option(
            help="PNGs of the predictions; else the JSON's name without .json.", metavar="DIR", rich_help_panel=FILES
        ),
    ] = None,
    annotations_dir: Annotated[
        Path | None,
        typer.Option(
            help="PNGs of the ground truth; else the JSON's name without .json.", metavar="DIR", rich_help_panel=FILES
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="The images, to see them in the report.", metavar="DIR", rich_help_panel=FILES),
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            help="Count AP against the official instances: COCO's instances JSON, or Cityscapes' gtFine/SPLIT.",
            metavar="PATH",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write scores.json, per_class.csv and report.html there.", metavar="DIR", rich_help_panel=RESULTS
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the paper's rows beside.", rich_help_panel=RESULTS)
    ] = False,
    submission: Annotated[
        Path | None,
        typer.Option(
            help="Write the archives for COCO's or Cityscapes' servers there; without annotations only these.",
            metavar="DIR",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the scores as JSON on stdout.", rich_help_panel=RESULTS)
    ] = False,
) -> None:
    """Score a model, or predictions of any model: PQ, AP and mIoU, 0–100.

    Example: pisr eval --checkpoint runs/first/best.safetensors --data datasets --out scores

    Example: pisr eval --predictions predicted.json --annotations panoptic_val2017.json

    Example: pisr eval --split test-dev --submission upload
    """
    if predictions is None and annotations is None:
        views = None if multi_scale is None and not flip else (_scales(multi_scale or "1"), flip)
        subject = load_subject(checkpoint, data, dataset, split, views, device, precision, compile_network)
        outcome = evaluate_model(subject, limit, batch_size, instances, compare, submission)
    elif checkpoint is None and predictions is not None and annotations is not None:
        if compare or submission or multi_scale or flip or compile_network or precision != "no":
            raise ConfigError(
                "--compare, --submission, --multi-scale, --flip, --precision and --compile need a model: give "
                "--checkpoint."
            )
        outcome = _evaluate_files(predictions, annotations, predictions_dir, annotations_dir, images, instances)
    else:
        raise ConfigError("what to score? Give either --checkpoint, or --predictions with --annotations.")
    deliver(outcome, out, as_json)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--multi-scale {text}: write numbers with commas, for example 0.5,1,1.5.") from None
    if not all(0.05 <= scale <= 20 for scale in scales):
        raise ConfigError(f"--multi-scale {text}: choose scales from 0.05 to 20.")
    return scales


def _evaluate_files(
    predictions: Path,
    annotations: Path,
    predictions_dir: Path | None,
    annotations_dir: Path | None,
    images: Path | None,
    instances: Path | None,
) -> Outcome:
    from pisr_core.evaluation.examples import examples_of_files
    from pisr_core.metrics.files import evaluate_files

    with progress_bar("comparing") as progress:
        result = evaluate_files(
            predictions, annotations, predictions_dir, annotations_dir, progress, official_instances=instances
        )
    facts = {"predictions": str(predictions), "annotations": str(annotations), "images": result.images}
    examples = examples_of_files(result.worst, predictions, annotations, predictions_dir, annotations_dir, images)
    return Outcome(result, facts, examples=examples)
